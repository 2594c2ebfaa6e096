"""Signals that cancel: who hears of them, and when."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from PartialOrganSegLib.cancelling import cancellable, signals_held, uninterrupted
from PartialOrganSegLib.errors import Code, Problem
from Testing.helpers.repository import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def test_a_process_that_is_started_while_signals_are_held_gets_none_before_it_can_ignore_them() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    code = "import signal; print(*map(int, signal.pthread_sigmask(signal.SIG_BLOCK, [])))"
    with signals_held():
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
    text, _ = process.communicate()
    assert {int(signal.SIGINT), int(signal.SIGTERM)} <= set(map(int, text.split()))


def test_results_that_another_thread_moves_keep_no_signal_from_the_main_one() -> None:
    """Nor is that thread interrupted, in the middle of them or after."""
    moving, go_on, moved = threading.Event(), threading.Event(), []

    def move() -> None:
        with uninterrupted():
            moving.set()
            go_on.wait()
        moved.append("all")

    thread = threading.Thread(target=move)
    with cancellable():
        thread.start()
        moving.wait()
        try:
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
        finally:
            go_on.set()
            thread.join()
    assert moved == ["all"]


# Presses Ctrl-C when a module is about to be imported.
PRESSING = """
import signal, sys

# As on a terminal: tests that a shell runs in its background inherit that it is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == {module!r}:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Finder)
"""
STARTS = (["-m", "PartialOrganSegLib"],
          # As pip writes the program `partialorganseg`.
          ["-c", "import sys\nfrom PartialOrganSegLib.__main__ import command\nsys.exit(command())"])


@pytest.mark.parametrize("words", STARTS, ids=["module", "program"])
@pytest.mark.parametrize("module", ["PartialOrganSegLib.cli", "argparse", "PartialOrganSegLib.cli.train"])
@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_while_the_command_starts_is_one_line(module: str, words: list[str], as_json: bool,
                                                     tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(PRESSING.format(module=module), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    options = ["--json-events"] if as_json else []
    ended = subprocess.run([sys.executable, *words, "phantom", "-o", str(tmp_path / "out"), *options], env=environment,
                           capture_output=True, text=True, check=False)
    assert ended.returncode == 130
    if as_json:
        expected = {"event": "error", **Problem(Code.CANCELLED, found="cancelled").as_event()}
        assert (json.loads(ended.stdout), ended.stderr) == (expected, "")
    else:
        assert (ended.stdout, ended.stderr) == ("", "error: cancelled\n")


def test_the_installed_program_is_the_one_that_ends_in_one_line() -> None:
    assert 'partialorganseg = "PartialOrganSegLib.__main__:command"' in (ROOT / "pyproject.toml").read_text("utf-8")
