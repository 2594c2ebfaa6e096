"""docs/reference/names.md and organs.md: what `partialorganseg list` prints."""

from __future__ import annotations

from pathlib import Path

from PartialOrganSegLib.cli.listing import KINDS
from PartialOrganSegLib.organ_records import REGIONS, shipped_organs
from PartialOrganSegLib.organs import LABEL_SPACES, WORD16
from PartialOrganSegLib.training.recipe import shipped_recipes

from .markdown import NOTE, code, table

NAMES = """# Names

{note}
What a recipe or a command can name. `partialorganseg list losses` prints the same, with whatever installed packages
add. Losses, networks, optimisers, schedules and hooks may also be given as `my_package.module:Class`:
see [extending](../extending/index.md).
"""
ORGANS = """# Organs

{note}
The facts come from `PartialOrganSegLib/resources/organs.json`. Codes are SNOMED CT. "usual" is the volume between the
5th and the 95th percentile of 30 WORD test label maps. [How-to: a new organ](../how-to/new-organ.md) adds one.
"""
TITLES = {"losses": "Losses", "networks": "Networks", "optimisers": "Optimisers", "schedules": "Schedules",
          "formats": "Formats"}
# What PyTorch says of its own optimisers changes with its version.
LEFT_OUT = {"optimisers": ("what", "arguments")}


def names_page() -> str:
    lines = [NAMES.format(note=NOTE)]
    for kind, title in TITLES.items():
        rows = KINDS[kind]()
        columns = [column for column in rows[0] if column not in LEFT_OUT.get(kind, ())]
        cells = []
        for row in rows:
            cells.append([_cell(row[column], column) for column in columns])
        lines += [f"## {title}", "", *table(columns, cells), ""]
    lines += ["## Recipes", "", *table(("name", "what"), [(code(name), _first_sentence(file))
                                                          for name, file in shipped_recipes().items()])]
    return "\n".join(lines) + "\n"


def organs_page() -> str:
    records = shipped_organs().records
    rows = []
    for name in WORD16.names:
        record = records[name]
        concept = record.code.value
        if record.modifier is not None:
            concept += f", {record.modifier.meaning.lower()}"
        usual = ""
        if record.usual_ml is not None:
            usual = f"{record.usual_ml.p5:.0f} to {record.usual_ml.p95:.0f}"
        rows.append((str(WORD16.indices([name])[0]), code(name), record.title, concept, usual,
                     ", ".join(record.shows_in), record.names.tg263 or "",
                     ", ".join(dict.fromkeys(record.names.all_names()))))
    lines = [ORGANS.format(note=NOTE), "## Label values of `word16`", "",
             *table(("value", "name", "title", "SNOMED CT", "usual ml", "shows in", "TG-263", "other names"), rows), ""]
    lines += [f"Fields of view are {', '.join(REGIONS)}.", "", "## Label spaces", ""]
    lines += table(("label space", "what", "organs, from value 1"),
                   [(code(name), LABEL_SPACES.about(name), ", ".join(space.names))
                    for name, space in LABEL_SPACES.items()])
    return "\n".join(lines) + "\n"


def _first_sentence(recipe: Path) -> str:
    """Of the comment that a shipped recipe begins with."""
    words: list[str] = []
    for line in recipe.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        words += line.lstrip("# ").split()
    sentence, end, _ = " ".join(words).partition(". ")
    return sentence + end.strip()


def _cell(value: str | list[str], column: str) -> str:
    if isinstance(value, list):
        return ", ".join(code(part) for part in value)
    return code(value) if column == "name" else value
