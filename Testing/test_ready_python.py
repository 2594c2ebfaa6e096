"""Programs of the ready Python do what those of the usual one do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from Testing.helpers import ready_python
from Testing.helpers.repository import ROOT

pytestmark = pytest.mark.skipif(ready_python.program() == sys.executable, reason="no safe fork on this system")
# What a program sees of how it was started.
LOOK = ("import os, sys; print(__name__, sys.argv[1:], os.getcwd(), os.environ['ASKED'], sys.path[0], "
        "sys.stdin.read(), sorted(set(sys.modules) & {'Testing', 'PartialOrganSegLib'})); print('é', file=sys.stderr)")


def both(*words: str, folder: Path, asked: str = "", text: str = "") -> list[tuple[int, str, str]]:
    """Exit code, output and errors of the usual and of the ready Python."""
    ended = []
    for python in (sys.executable, ready_python.program()):
        completed = subprocess.run([python, *words], cwd=folder, capture_output=True, encoding="utf-8", check=False,
                                   env={**os.environ, "ASKED": asked, "PYTHONPATH": str(ROOT)}, input=text)
        ended.append((completed.returncode, completed.stdout, completed.stderr))
    return ended


def test_arguments_folder_environment_and_streams_are_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "hier ü"
    folder.mkdir()
    (folder / "look.py").write_text(LOOK, encoding="utf-8")
    for words in (("-c", LOOK), ("-m", "look"), ("-u", "look.py"), ("look.py",)):
        usual, ready = both(*words, "a b", "-c", folder=folder, asked="an ü", text="line\n")
        assert ready == usual
        assert "['a b', '-c']" in ready[1]


@pytest.mark.parametrize(("code", "expected"), [
    ("raise SystemExit(3)", 3), ("raise SystemExit('said')", 1), ("1 / 0", 1), ("import os; os._exit(4)", 4),
    ("import os; os.kill(os.getpid(), 9)", -9), ("import atexit; atexit.register(print, 'at the end')", 0)])
def test_it_ends_as_the_program_does(tmp_path: Path, code: str, expected: int) -> None:
    usual, ready = both("-c", code, folder=tmp_path)
    assert usual[0] == ready[0] == expected
    assert usual[1] == ready[1]
    # Of a traceback the first lines differ: more of Python lies below the program.
    assert usual[2].splitlines()[-1:] == ready[2].splitlines()[-1:]


def test_the_command_is_this_repositorys(tmp_path: Path) -> None:
    usual, ready = both("-m", "PartialOrganSegLib", "list", "organs", folder=tmp_path)
    assert ready == usual
    assert usual[0] == 0


def test_a_signal_reaches_the_program_and_its_end_is_said() -> None:
    code = ("import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: exit(7))\nprint('ready', flush=True)\n"
            "time.sleep(60)")
    with subprocess.Popen([ready_python.program(), "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.wait(20) == 7


def test_the_program_ends_with_its_client() -> None:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    with subprocess.Popen([ready_python.program(), "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        number = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    end = time.monotonic() + 20
    while psutil.pid_exists(number):
        assert time.monotonic() < end
        time.sleep(0.02)
