"""The child process: events come in, and it ends with all its children, whatever ends it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from PartialOrganSegPanel.shell import child
from PartialOrganSegPanel.shell.child import ChildProcess
from PartialOrganSegPanel.shell.job import Job

pytestmark = pytest.mark.usefixtures("usual_python")
STUBBORN = '''
import json, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(json.dumps({"event": "metric", "grandchild": grandchild.pid, "arguments": sys.argv[1:]}), flush=True)
time.sleep(600)
'''


class Record:
    """A job and what it told."""

    def __init__(self, process=None):
        self.progress, self.results, self.outcomes = [], [], []
        self.process = process or ChildProcess()
        self.job = Job(self.process, self.progress.append, self.results.append, self.outcomes.append)


@pytest.fixture
def library(tmp_path, monkeypatch):
    """`library(source)`: puts the leash beside a library that is only the given `__main__`; in a folder with blanks."""
    def make(source):
        root = tmp_path / "lib rary ö"
        (root / "PartialOrganSegLib").mkdir(parents=True)
        # a package without __init__.py would lose against the real one, where that is on PYTHONPATH
        (root / "PartialOrganSegLib" / "__init__.py").touch()
        (root / "PartialOrganSegLib" / "__main__.py").write_text(source, encoding="utf-8")
        leash = root / "panel" / "shell" / "leash.py"
        leash.parent.mkdir(parents=True)
        leash.write_text(child.LEASH.read_text(encoding="utf-8"), encoding="utf-8")
        monkeypatch.setattr(child, "LEASH", leash)
        return leash

    return make


def gone(pid):
    """Whether a process has ended (a zombie has)."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_real_command_gives_events(until):
    record = Record()
    record.job.start(["models", "info", "embedded"])
    until(lambda: record.outcomes)
    assert record.outcomes[0].state == "done"
    assert record.results[0]["name"] == "embedded"


def test_error_of_the_command_is_its_one_line(until):
    record = Record()
    record.job.start(["models", "info", "embeded"])
    until(lambda: record.outcomes)
    assert record.outcomes[0].state == "failed"
    assert "did you mean 'embedded'?" in record.outcomes[0].message


def test_real_command_cancels_tidily(until, tmp_path):
    record = Record()
    record.job.start(["phantom", "-o", str(tmp_path), "--count", "200", "--shape", "48", "--spacing", "8"])
    until(lambda: record.progress)
    record.job.cancel()
    until(lambda: record.outcomes, 10)
    assert record.outcomes[0].state == "cancelled"
    assert not [path for path in tmp_path.rglob("*") if "partial" in path.name]
    assert len(list(tmp_path.rglob("*.nii.gz"))) < 400


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("how", ["cancel", "kill"])
def test_stubborn_child_ends_with_its_children(until, library, how):
    library(STUBBORN)
    record = Record()
    record.job.start(["train", "recipe with blanks.yaml"])
    until(lambda: record.results)
    assert record.results[0]["arguments"] == ["train", "recipe with blanks.yaml", "--json-events"]
    pids = [record.process.pid, record.results[0]["grandchild"]]
    getattr(record.job, how)()
    until(lambda: all(gone(pid) for pid in pids), 10)
    if how == "cancel":
        until(lambda: record.outcomes)
        assert record.outcomes[0].state == "cancelled"


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_killed_child_tells_its_last_line(until, library):
    library("import sys, time\nprint('loading weights', file=sys.stderr, flush=True)\n"
            "print('{\"event\": \"progress\", \"stage\": \"s\", \"done\": 1, \"total\": 2}', flush=True)\n"
            "time.sleep(600)\n")
    record = Record()
    record.job.start([])
    until(lambda: record.progress)
    os.kill(record.process.pid, signal.SIGKILL)
    until(lambda: record.outcomes)
    assert record.outcomes[0].state == "failed"
    assert "unexpectedly" in record.outcomes[0].message
    assert "loading weights" in record.outcomes[0].message
    assert record.outcomes[0].log == "loading weights"


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_child_ends_when_slicer_crashes(until, library):
    leash = library(STUBBORN)
    parent = subprocess.Popen(
        [sys.executable, "-c", "import subprocess, sys, time\n"
         f"subprocess.Popen([sys.executable, {str(leash)!r}, '0.2'], stdin=subprocess.PIPE)\ntime.sleep(600)"],
        stdout=subprocess.PIPE, text=True)
    with parent:
        assert json.loads(parent.stdout.readline())["event"] == "leash"
        grandchild = json.loads(parent.stdout.readline())["grandchild"]
        running = psutil.Process(grandchild).parent().pid
        parent.kill()
    until(lambda: gone(running) and gone(grandchild), 10)


@pytest.fixture
def launcher(tmp_path, monkeypatch):
    """Slicer's Python is a program that starts the real one as its child, gives it its input and output, and makes
    exit code 1 of whatever becomes of it."""
    path = tmp_path / "PythonSlicer"
    # By sh, since a #! line takes no path with blanks.
    program = tmp_path / "launcher.py"
    program.write_text("import subprocess, sys\n"
                       "sys.exit(min(1, abs(subprocess.call([sys.executable, *sys.argv[1:]]))))\n", encoding="utf-8")
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{program}" "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    monkeypatch.setattr(child, "slicer_python", lambda: str(path))


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("how", ["cancel", "kill"])
def test_a_launcher_hides_nobody(until, library, launcher, how):
    library(STUBBORN)
    record = Record()
    record.job.start([])
    until(lambda: record.results)
    pids = [record.process.pid, record.process._leash_pid, record.results[0]["grandchild"]]
    assert len(set(pids)) == 3
    getattr(record.job, how)()
    until(lambda: all(gone(pid) for pid in pids), 10)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_launcher_that_is_killed_at_once_leaves_nothing_behind(until, library, launcher, tmp_path):
    library(f"import time\nopen({str(tmp_path / 'started')!r}, 'w').close()\ntime.sleep(600)\n")
    record = Record()
    record.job.start([])
    until(lambda: record.process.pid and psutil.Process(record.process.pid).children())
    children = psutil.Process(record.process.pid).children(recursive=True)
    record.job.kill()
    until(lambda: all(gone(process.pid) for process in children), 20)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_death_below_a_launcher_is_no_reason(until, library, launcher):
    library("import os, signal, sys\nprint('loading weights', file=sys.stderr, flush=True)\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n")
    record = Record()
    record.job.start([])
    until(lambda: record.outcomes)
    assert record.outcomes[0].message == "The work ended unexpectedly: loading weights"


def test_python_that_cannot_start_is_a_failure(until, monkeypatch):
    monkeypatch.setattr(child, "slicer_python", lambda: str(Path("no such") / "python"))
    record = Record()
    record.job.start(["doctor"])
    until(lambda: record.outcomes)
    assert record.outcomes[0].state == "failed"
    assert "could not be started" in record.outcomes[0].message
