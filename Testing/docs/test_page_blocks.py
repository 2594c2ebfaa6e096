"""What pages tell a reader to type does what they say: blocks of get-started, how-to and extending are run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from PartialOrganSegLib.datasets.manifest_file import ManifestFile
from PartialOrganSegLib.formats.registry import FORMATS
from PartialOrganSegLib.formats.writing import write_ct
from PartialOrganSegLib.synthesis.phantom import make_phantom
from PartialOrganSegLib.yaml_file import read_yaml
from Testing.helpers import ready_python
from Testing.helpers.pages import DOCS, Block, blocks
from Testing.helpers.repository import ROOT

FOLDERS = ("get-started", "how-to", "extending")
RUN = ("sh", "python")
DATA = ("yaml", "toml", "text", "{toctree}", "{include}")  # not for a shell


def _run_on(page: Path) -> list[Block]:
    """The blocks of a page that are run."""
    return [block for block in blocks(page) if block.language in RUN and block.reason is None]


def _pages() -> list[Path]:
    """The pages that hold such a block."""
    listed: list[Path] = []
    for folder in FOLDERS:
        listed += [page for page in sorted((DOCS / folder).glob("*.md")) if _run_on(page)]
    return listed


def _name(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """An environment in which `partialorganseg` and `python` are those of the tests."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "partialorganseg"
    # A page says `partialorganseg`; an installed one would be another version.
    command.write_text(f'#!/bin/sh\nexec "{ready_python.program()}" -m PartialOrganSegLib "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    path = os.pathsep.join([str(folder), os.environ.get("PATH", "")])
    python_path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PATH": path, "PYTHONPATH": python_path}


@pytest.mark.skipif(shutil.which("sh") is None, reason="no sh on this system")
@pytest.mark.parametrize("page", _pages(), ids=_name)
def test_a_page_followed_word_by_word(page: Path, tmp_path: Path, shell: dict[str, str]) -> None:
    """In an empty folder, block after block; the Python blocks of a page are one program."""
    folder = tmp_path / "here"
    folder.mkdir()
    for command in _commands(_run_on(page)):
        completed = subprocess.run(command, cwd=folder, env=shell, capture_output=True, check=False, timeout=550,
                              encoding="utf-8", errors="replace")
        assert completed.returncode == 0, f"{command[-1]}\n{completed.stdout}\n{completed.stderr}"


def _commands(listed: list[Block]) -> Iterator[list[str]]:
    program = ""
    for block in listed:
        if block.language == "sh":
            yield ["sh", "-e", "-c", block.text]
        else:
            program += block.text + "\n"
    if program:
        yield [ready_python.program(), "-c", program]


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_block_is_of_a_kind_that_somebody_checks(folder: str) -> None:
    for page in (DOCS / folder).glob("*.md"):
        for block in blocks(page):
            assert block.language in RUN + DATA, f"{page}: {block.text}"
            # What is to be typed is a block of sh, which is run or says why not.
            if block.language == "text":
                assert not re.search(r"^\s*(\$ |partialorganseg |python3? |pip )", block.text, re.MULTILINE), block.text


def test_the_program_of_the_readme(tmp_path: Path, shell: dict[str, str]) -> None:
    ct, _ = make_phantom((24, 24, 24), (8.0, 8.0, 8.0))
    write_ct(tmp_path / "ct.nii.gz", ct)
    program, = [block.text for block in blocks(ROOT / "README.md") if block.language == "python"]
    subprocess.run([ready_python.program(), "-c", program], cwd=tmp_path, env=shell, check=True, timeout=300)
    assert (tmp_path / "organs.nii.gz").is_file()


def test_manifests_on_pages_are_manifests(tmp_path: Path) -> None:
    checked = 0
    for page in DOCS.rglob("*.md"):
        for block in blocks(page):
            if block.language == "yaml" and "datasets:" in block.text:
                file = tmp_path / "manifest.yaml"
                file.write_text(block.text, encoding="utf-8")
                ManifestFile.model_validate(read_yaml(file, "manifest"))
                checked += 1
    # A loop that finds nothing would pass.
    assert checked >= 3


def test_no_page_leaves_a_format_behind() -> None:
    """The page on formats registers one; it must have done so in a process of its own."""
    assert "npz" not in FORMATS
