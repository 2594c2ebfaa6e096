"""The pages hold together: short README, no broken link, generated pages as the code is, nothing shipped unnamed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import PartialOrganSegLib
from PartialOrganSegLib.refining.borders import BAND_MM
from PartialOrganSegLib.refining.neighbourhood import MARGIN_MM
from PartialOrganSegLib.refining.questioning import GRAZED_MM
from PartialOrganSegLib.resources import resource
from PartialOrganSegLib.yaml_file import read_yaml
from Testing.helpers.pages import DOCS, anchors, links, pages
from Testing.helpers.repository import ROOT, import_script

script = import_script("write_docs")


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= 9000


@pytest.mark.parametrize("name", script.PAGES)
def test_generated_page_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == script.PAGES[name](), "run python scripts/write_docs.py"


def test_the_readme_has_the_figures_of_the_model_that_ships() -> None:
    assert script.README.read_text(encoding="utf-8") == script.readme(), "run python scripts/write_docs.py"


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        # Links to the world outside are not tried: tests have no network.
        if re.match(r"https?:|mailto:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name) if name else page
        # Made by the build, which has a test of its own.
        if target.parent == DOCS / "gallery":
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_can_be_reached() -> None:
    """By the tables of contents, from the first page on."""
    reached, waiting = set(), [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        for contents in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            # Options of the directive begin with a colon; one of them has a number behind it.
            for line in contents.split():
                below = page.parent / f"{line}.md"
                is_option = line.startswith(":") or line.isdigit()
                if not is_option and below.parent != DOCS / "gallery" and below not in reached:
                    waiting.append(below)
    assert reached == set(DOCS.rglob("*.md"))


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_pages_name_no_folder_of_one_machine(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(?<![\w.])/(home|root|Users|tmp)/", text)
    assert str(ROOT) not in text


def test_figures_that_pages_show_are_all_of_them() -> None:
    shown = set()
    for page in pages():
        for link in links(page):
            shown.add((page.parent / link).resolve())
    assert set((DOCS / "figures").glob("*.png")) <= shown


def test_the_version_is_in_the_changelog_and_the_citation() -> None:
    version = PartialOrganSegLib.__version__
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    citation = read_yaml(ROOT / "CITATION.cff", "citation")
    assert citation["version"] == version
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "license"} <= set(citation)


def test_the_page_on_refining_states_its_reach() -> None:
    text = " ".join((DOCS / "how-to" / "refine.md").read_text(encoding="utf-8").split())
    assert f"nothing farther than {MARGIN_MM:.0f} mm" in text
    assert f"moves to the CT's edges, by {BAND_MM:.0f} mm at most" in text
    assert f"only what is within {GRAZED_MM:.0f} mm may change" in text


def test_notices_name_every_network_and_data_set_that_ships() -> None:
    notice = (ROOT / "NOTICE.md").read_text(encoding="utf-8")
    model = resource("models") / "embedded"
    for member in sorted((model / "members").iterdir()):
        assert f"`{member.name}`" in notice, member.name
    for name in ("hk13", "WORD", "TotalSegmentator", "AbdomenAtlas", "Visible Human", "CORT", "WAW-TACE", "SNOMED"):
        assert name in notice, name


def test_the_data_statement_names_every_ct_with_strokes() -> None:
    statement = (DOCS / "data-statement.md").read_text(encoding="utf-8")
    for file in (ROOT / "Resources" / "strokes").glob("*.json"):
        assert f"`{file.stem}`" in statement, file.stem
