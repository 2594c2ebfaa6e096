"""Writes the pages of docs/ that are made from the code, and the table of figures in the README.

    python scripts/write_docs.py

Run it after a command, a setting, a name, an organ or the embedded model was changed; a test compares.
"""

from __future__ import annotations

from collections.abc import Callable

import write_problem_page
from generated_pages import (
    commands,
    embedded_figures,
    events,
    learning,
    names,
    refine,
    reproduction,
    robustness,
    settings,
    speed,
)
from generated_pages.embedded_figures import ROOT

README = ROOT / "README.md"
BEGIN, END = "<!-- figures: written by scripts/write_docs.py -->\n", "<!-- end of figures -->"
PAGES: dict[str, Callable[[], str]] = {
    "reference/commands.md": commands.page,
    "reference/manifest.md": settings.manifest_page,
    "reference/recipe.md": settings.recipe_page,
    "reference/bundle.md": settings.bundle_page,
    "reference/events.md": events.page,
    "reference/names.md": names.names_page,
    "reference/organs.md": names.organs_page,
    "reference/problems.md": write_problem_page.page,
    "results/embedded-figures.md": embedded_figures.page,
    "results/fine-tuning.md": learning.page,
    "results/model-card.md": embedded_figures.card,
    "results/refine.md": refine.page,
    "results/reproduction-tables.md": reproduction.page,
    "results/robustness.md": robustness.page,
    "results/speed.md": speed.page,
    "results/growth.svg": speed.growth_picture,
}


def readme() -> str:
    """What the README must be for the figures as they are. Raises ValueError where it has no place for them."""
    text = README.read_text(encoding="utf-8")
    before, begin, figures_and_after = text.partition(BEGIN)
    _, end, after = figures_and_after.partition(END)
    # A README that lost a line of the two would lose its table without anybody noticing.
    if not begin or not end:
        raise ValueError(f"{README.name}: expected the lines {BEGIN.strip()} and {END}")
    return before + BEGIN + "\n" + embedded_figures.readme_table() + "\n" + END + after


def write() -> None:
    """Writes them all."""
    for name, page in PAGES.items():
        path = ROOT / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(), encoding="utf-8")
    README.write_text(readme(), encoding="utf-8")


if __name__ == "__main__":
    write()
