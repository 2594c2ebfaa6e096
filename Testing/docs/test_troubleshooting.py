"""Every message that the page on troubleshooting quotes is one that the code can print."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from Testing.helpers.pages import DOCS
from Testing.helpers.repository import ROOT

PLACES = {"In the terminal and in Python": ("PartialOrganSegLib", "scripts"), "In 3D Slicer": ("PartialOrganSeg",)}
# `Problem.text` puts these between the parts of a message, so that no string of the code holds them.
GLUE = re.compile(r"…|\bexpected |, found:? ?|^found |; (?!\w+ing)")
SHORTEST = 4  # letters of a part that says something


def quoted(place: str) -> list[str]:
    """The messages in the first column of a section's table."""
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    section = text.partition(f"## {place}\n")[2].partition("\n## ")[0]
    messages: list[str] = []
    for row in re.findall(r"^\| (`.+?) \| ", section, re.MULTILINE):
        messages += re.findall(r"`([^`]+)`", row)
    return messages


@cache
def strings_of(folder: str) -> dict[Path, list[str]]:
    """The string constants of each file, those in f-strings too, without docstrings' line breaks."""
    strings = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        strings[path] = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return strings


MESSAGES = [(place, message) for place in PLACES for message in quoted(place)]


@pytest.mark.parametrize(("place", "message"), MESSAGES, ids=[message for _, message in MESSAGES])
def test_the_code_can_say_it(place: str, message: str) -> None:
    """All parts of the message in strings of one file."""
    parts = [part.strip(" .:'") for part in GLUE.split(message)]
    parts = [part for part in parts if len(part) >= SHORTEST]
    assert parts, "nothing to look for"
    for folder in PLACES[place]:
        for strings in strings_of(folder).values():
            # In one file: parts of two messages of different files are not the message.
            # Joined by what no message holds, so that no part reaches over two strings.
            if all(part in "\0".join(strings) for part in parts):
                return
    pytest.fail(f"no file has all of {parts}")


def test_there_are_messages_of_each_place() -> None:
    for place in PLACES:
        assert len(quoted(place)) > 5
