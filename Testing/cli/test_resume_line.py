"""The line by which work goes on is one that the system's own terminal understands."""

import shlex
from types import SimpleNamespace

import pytest

from PartialOrganSegLib.cli import resume_line
from PartialOrganSegLib.cli.resume_line import command_line

PATHS = [r"C:\Users\joerg\runs\first", r"C:\Eigene Dateien\Läufe", "D:\\CT & MR\\", r"\\server\data$\run", "plain", "",
         "a'b", 'a\\"b']


def words_of(line: str) -> list[str]:
    """A line's words as a program for Windows gets them (Microsoft, "Parsing C command-line arguments")."""
    words, word, quoted, backslashes = [], None, False, 0
    for letter in f"{line} ":
        if letter == "\\":
            backslashes += 1
            word = word or ""
            continue
        if letter == '"':
            word = (word or "") + "\\" * (backslashes // 2)
            if backslashes % 2:
                word += '"'
            else:
                quoted = not quoted
        else:
            word = (word or "") + "\\" * backslashes if backslashes else word
            if letter == " " and not quoted:
                if word is not None:
                    words.append(word)
                word = None
            else:
                word = (word or "") + letter
        backslashes = 0
    return words


@pytest.mark.parametrize("path", PATHS)
def test_on_windows_words_are_in_double_quotes(monkeypatch, path):
    monkeypatch.setattr(resume_line, "sys", SimpleNamespace(platform="win32"))
    line = command_line(["partialorganseg", "finetune", "-o", path, "--resume"])
    assert words_of(line) == ["partialorganseg", "finetune", "-o", path, "--resume"]
    # cmd.exe ends the command at these, unless they are in quotes.
    assert "&" not in line or f'"{path}' in line


def test_elsewhere_as_a_shell_reads_it(monkeypatch):
    monkeypatch.setattr(resume_line, "sys", SimpleNamespace(platform="linux"))
    assert shlex.split(command_line(["learn", *PATHS])) == ["learn", *PATHS]
