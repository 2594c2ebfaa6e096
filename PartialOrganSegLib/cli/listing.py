"""`partialorganseg list`: the names that a recipe, a manifest or a command may use."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, TypeVar

from ..errors import Code, Problem, nearest
from ..events import Reporter
from .options import add_common_options

if TYPE_CHECKING:
    from ..registry import Registry

HELP = ("List the names that recipes, manifests and commands may use: losses, networks, recipes, formats, organs and "
        "so on.")
EXAMPLE = "partialorganseg list losses\n  partialorganseg list organs --json-events"
WIDEST = 90  # letters of a column other than the last; JSON events have the whole text

Row = dict[str, str | list[str]]  # of each column
Registered = TypeVar("Registered", bound=Callable[..., object])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", type=_kind, metavar="KIND", help=", ".join(KINDS))
    add_common_options(parser)


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Prints a table with a line for each entry; with --json-events, an event for each."""
    from ..formats.writing import format_table

    reporter.started(command="list", kind=arguments.kind)
    rows = KINDS[arguments.kind]()
    for row in rows:
        reporter.result(**row)
    # An empty table would look like a failure.
    if rows:
        print(format_table([_shortened(row) for row in rows]), flush=True)
    else:
        reporter.warning(Problem(Code.NO_MODEL, "list", found=f"no {arguments.kind} are installed"))
    return 0


def _kind(text: str) -> str:
    kind = text.strip().lower().replace("_", "-")
    if kind not in KINDS:
        raise argparse.ArgumentTypeError(f"expected {', '.join(KINDS)}, found '{text}'{nearest(kind, KINDS)}")
    return kind


def _shortened(row: Row) -> dict[str, str]:
    """A row with lists as text, and every text but that of the last column cut where it is too long."""
    texts = {}
    for column, value in row.items():
        texts[column] = ", ".join(value) if isinstance(value, list) else value
    for column in list(texts)[:-1]:
        if len(texts[column]) > WIDEST:
            texts[column] = texts[column][:WIDEST - 1].rstrip() + "\u2026"
    return texts


def _losses() -> list[Row]:
    from ..losses import LOSSES

    return _registered(LOSSES)


def _networks() -> list[Row]:
    from ..networks import GIVEN, NETWORKS

    return _registered(NETWORKS, GIVEN)


def _optimisers() -> list[Row]:
    from ..training.optimisers import GIVEN, OPTIMISERS

    return _registered(OPTIMISERS, GIVEN)


def _schedules() -> list[Row]:
    from ..training.registered import GIVEN_TO_SCHEDULES
    from ..training.schedules import SCHEDULES

    return _registered(SCHEDULES, GIVEN_TO_SCHEDULES)


def _registered(registry: Registry[Registered], passed: Collection[str] = ()) -> list[Row]:
    """The entries of a registry: a summary, the paper it states and the arguments that a recipe may set.

    `passed` are the arguments that the trainer passes itself.
    """
    from ..registry import arguments_of, summary

    rows: list[Row] = []
    for name, entry in registry.items():
        rows.append({"name": name, "what": summary(entry), "source": registry.source(name),
                     "arguments": [str(argument) for argument in arguments_of(entry, passed)]})
    return rows


def _recipes() -> list[Row]:
    from ..training.recipe import shipped_recipes

    rows: list[Row] = []
    for name, file in shipped_recipes().items():
        # A shipped recipe begins with a comment that says what it is for.
        first = file.read_text(encoding="utf-8").partition("\n")[0]
        rows.append({"name": name, "what": first.lstrip("# "), "file": str(file)})
    return rows


def _formats() -> list[Row]:
    from ..formats import registry as formats
    from ..registry import summary

    can_read = ((formats.ImageFormat, "CT, label map"), (formats.SeriesFormat, "CT series"),
                (formats.StrokeFormat, "strokes"))
    can_write = ((formats.ImageWriter, "CT, label map"), (formats.SegmentationWriter, "segmentation"),
                 (formats.StrokeFormat, "strokes"))
    rows: list[Row] = []
    for name, entry in sorted(formats.FORMATS.items()):
        rows.append({"name": name, "what": summary(type(entry)), "suffixes": list(entry.suffixes),
                     "reads": _first_of(entry, can_read), "writes": _first_of(entry, can_write)})
    return rows


def _first_of(entry: object, kinds: Sequence[tuple[type, str]]) -> str:
    """What is said of the first kind that an entry is of."""
    return next((text for kind, text in kinds if isinstance(entry, kind)), "")


def _organs() -> list[Row]:
    from ..organ_records import known_organs

    rows: list[Row] = []
    for record in known_organs().records.values():
        concept = f"{record.code.value} {record.code.meaning}"
        if record.modifier is not None:
            concept += f", {record.modifier.meaning.lower()}"
        usual = ""
        if record.usual_ml is not None:
            usual = f"{record.usual_ml.p5:.0f}-{record.usual_ml.p95:.0f}"
        # Several tools share a name; it stands once.
        rows.append({"name": record.name, "snomed_ct": concept,
                     "region": record.region, "usual_ml": usual, "tg263": record.names.tg263 or "",
                     "other_names": list(dict.fromkeys(record.names.all_names()))})
    return rows


def _label_spaces() -> list[Row]:
    from ..organs import LABEL_SPACES

    return [{"name": name, "what": LABEL_SPACES.about(name), "organs": list(space.names)}
            for name, space in LABEL_SPACES.items()]


def _models() -> list[Row]:
    from ..models.store import list_models

    rows: list[Row] = []
    for bundle in list_models():
        rows.append({"name": bundle.name, "version": bundle.metadata.version, "what": bundle.metadata.description,
                     "network": bundle.network_name, "organs": list(bundle.label_space.names),
                     "folder": str(bundle.folder)})
    return rows


KINDS: dict[str, Callable[[], list[Row]]] = {
    "losses": _losses, "networks": _networks, "optimisers": _optimisers, "schedules": _schedules, "recipes": _recipes,
    "formats": _formats, "organs": _organs, "label-spaces": _label_spaces, "models": _models}
