"""Closed, full and abandoned streams change neither the exit code nor the files; names forge no lines."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.safe_text import csv_cell, markdown_text
from Testing.helpers.repository import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="file descriptors are POSIX's")


def run(shell: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A shell's line in which `p` is the command."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable}
    shell = f'p() {{ "$PYTHON" -m PartialOrganSegLib "$@"; }}\n{shell}'
    # Paths are told as UTF-8 whatever the locale of the tests is.
    return subprocess.run(["bash", "-c", shell], cwd=folder, env=environment, capture_output=True, encoding="utf-8",
                          errors="replace", timeout=300, check=False)


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "> /dev/full", "2> /dev/full",
                                     "--json-events >&-", "--json-events > /dev/full", "--json-events 2>&-"])
def test_missing_and_full_streams(tmp_path: Path, streams: str) -> None:
    # A closed stdout leaves the number 1 free for the next file that is opened: the CT.
    completed = run(f"p phantom -o ph --shape 16 --spacing 20 {streams}", tmp_path)
    assert completed.returncode == 0
    assert "Traceback" not in completed.stderr
    assert "Exception" not in completed.stderr
    assert (tmp_path / "ph" / "images" / "phantom_0.nii.gz").stat().st_size > 100
    # Nothing that was printed went into a file that took the stream's number.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ph"]


@pytest.mark.parametrize("options", ["", "--json-events"])
def test_reader_that_went_away(tmp_path: Path, options: str) -> None:
    completed = run(f"(p models list {options}; echo code $? >&2) | true", tmp_path)
    assert completed.stderr.strip().endswith("code 0")
    assert "Traceback" not in completed.stderr


def test_errors_keep_their_code_without_a_stream(tmp_path: Path) -> None:
    assert run("p segment nothing.nii.gz -o out 2>&-", tmp_path).returncode == 1
    assert run("p segment --nonsense 2>&-", tmp_path).returncode == 2


def test_names_forge_no_lines_and_send_no_commands(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    name = "x\x1b[31m\nerror: all is lost.yaml"
    (tmp_path / name).write_text("datasets: 5")
    assert main(["check", str(tmp_path / name)]) == 1
    printed = capfd.readouterr()
    assert printed.err.count("\n") == 1
    assert "\\x1b[31m\\nerror" in printed.err
    assert "\x1b" not in printed.out + printed.err
    assert main(["check", str(tmp_path / name), "--json-events"]) == 1
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert name in events[-1]["subject"]


def test_cells_are_no_formulas_and_pages_hold_no_markup() -> None:
    for text in ("=1+1", "+cmd|' /C calc'!A0", "@SUM(1)", "-2+3", " =1"):
        assert csv_cell(text).startswith("'")
    # Numbers with a sign are no formulas.
    for text in ("liver", "-3.5", "+2", "a=b", "1e-5"):
        assert csv_cell(text) == text
    assert csv_cell("a\nb") == "a\\nb"
    assert markdown_text("[x](http://a) <script> a|b\n# c") == (
        "\\[x\\](http://a) &lt;script&gt; a\\|b\\\\n\\# c")
