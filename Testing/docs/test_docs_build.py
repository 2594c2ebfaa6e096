"""The generator builds all pages without a warning, and what it builds needs nothing from elsewhere."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from Testing.helpers import ready_python
from Testing.helpers.pages import DOCS
from Testing.helpers.repository import ROOT

NEEDED = ("sphinx", "furo", "myst_parser", "sphinx_gallery", "matplotlib")
pytestmark = pytest.mark.skipif(any(importlib.util.find_spec(name) is None for name in NEEDED),
                                reason="no generator of pages: pip install '.[docs]'")
# Pages are read offline, in hospitals too: nothing may be fetched when one is opened.
LOADED = re.compile(r'<(?:script|img|iframe)[^>]*\ssrc="(?:https?:)?//|<link[^>]*stylesheet[^>]*href="(?:https?:)?//|'
                    r'url\(["\']?(?:https?:)?//|@import\s+["\'](?:https?:)?//')


def build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = [ready_python.program(), "-m", "sphinx", "-W", "--keep-going", "-q"]
    command += ["-d", str(target.parent / "doctrees"), str(source), str(target)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("built") / "html"
    completed = build(DOCS, target)
    assert completed.returncode == 0, completed.stderr
    return target


def test_every_page_is_built_with_a_search_that_needs_no_server(built: Path) -> None:
    for page in DOCS.rglob("*.md"):
        assert (built / page.relative_to(DOCS).with_suffix(".html")).is_file(), page
    assert "refine" in (built / "searchindex.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("plot_*.py")), ids=lambda example: example.stem)
def test_an_example_ran_and_shows_a_picture(built: Path, example: Path) -> None:
    """The build runs them all and ends at the first error."""
    page = (built / "gallery" / f"{example.stem}.html").read_text(encoding="utf-8")
    assert f"_images/sphx_glr_{example.stem}_001.png" in page
    assert "Total running time of the script" in page


def test_pages_load_nothing_from_elsewhere(built: Path) -> None:
    files = [*built.rglob("*.html"), *built.rglob("*.css")]
    assert [file.name for file in files if LOADED.search(file.read_text(encoding="utf-8"))] == []


def test_a_broken_reference_is_an_error(tmp_path: Path) -> None:
    """In a small site with the settings of ours: a page, a heading and a picture that are not there."""
    source = tmp_path / "site" / "docs"
    source.mkdir(parents=True)
    shutil.copy(DOCS / "conf.py", source)
    shutil.copytree(DOCS / "static", source / "static")
    package = source.parent / "PartialOrganSegLib"
    package.mkdir()
    shutil.copy(ROOT / "PartialOrganSegLib" / "__init__.py", package)
    (source / "index.md").write_text("# A\n\n```{toctree}\ntroubleshooting\n```\n", encoding="utf-8")
    (source / "troubleshooting.md").write_text("# B\n\n[A](index.md)\n", encoding="utf-8")
    assert build(source, tmp_path / "good" / "html").returncode == 0
    bad = "[a](gone_page.md)\n\n[b](troubleshooting.md#gone_heading)\n\n![c](gone_picture.png)"
    (source / "index.md").write_text(f"# A\n\n{bad}\n\n```{{toctree}}\ntroubleshooting\n```\n", encoding="utf-8")
    completed = build(source, tmp_path / "bad" / "html")
    assert completed.returncode != 0
    # With -W and --keep-going every warning is an error, and each is printed.
    warnings = [line for line in completed.stderr.splitlines() if "index.md" in line]
    for name in ("gone_page", "gone_heading", "gone_picture"):
        assert [line for line in warnings if name in line], completed.stderr
