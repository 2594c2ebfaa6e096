"""The set-up scripts: what a second run, an interrupted one and an unfit machine meet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from Testing.helpers.repository import ROOT, SCRIPTS

sys.path.insert(0, str(SCRIPTS))
import _environment as environment
import demo


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """An empty repository; returns the record of set-ups: their extras and whether they began afresh."""
    root = tmp_path / "repö sitory"
    root.mkdir()
    for name in ("pyproject.toml", "constraints.txt"):
        (root / name).write_text("x", encoding="utf-8")
    monkeypatch.setattr(environment, "ROOT", root)
    monkeypatch.setattr(environment, "FOLDER", root / ".venv")
    monkeypatch.setattr(environment, "STAMP", root / ".venv" / "stamp.json")
    monkeypatch.setattr(environment, "LOG", root / "build" / "setup.log")
    monkeypatch.setattr(environment, "UNFINISHED", root / "build" / "unfinished")
    setups = []

    # The real one downloads hundreds of megabytes.
    def install(extras, fresh):
        setups.append((extras, fresh))
        environment.python_path().parent.mkdir(parents=True, exist_ok=True)
        environment.python_path().touch()

    monkeypatch.setattr(environment, "install", install)
    monkeypatch.setattr(environment, "same_python", lambda: environment.python_path().exists())
    return setups


def test_second_run_uses_the_environment_again(repository):
    assert environment.ready_environment() == environment.python_path()
    environment.ready_environment()
    assert repository == [([], True)]


def test_more_extras_are_added_and_stay(repository):
    environment.ready_environment()
    environment.ready_environment("test", "train")
    environment.ready_environment("test")
    environment.ready_environment()
    assert repository == [([], True), (["test", "train"], False)]


def test_changed_package_definition_is_installed(repository):
    environment.ready_environment("test")
    (environment.ROOT / "pyproject.toml").write_text("y", encoding="utf-8")
    environment.ready_environment()
    assert repository == [(["test"], True), (["test"], False)]


def test_interrupted_setup_is_not_believed(repository, monkeypatch):
    environment.ready_environment()
    good = environment.install

    def interrupted(extras, fresh):
        raise KeyboardInterrupt

    monkeypatch.setattr(environment, "install", interrupted)
    with pytest.raises(KeyboardInterrupt):
        environment.ready_environment("test")
    # Half-installed packages import until the first missing one: the stamp must go before pip starts.
    assert not environment.is_ready(())
    monkeypatch.setattr(environment, "install", good)
    environment.ready_environment("test")
    assert repository[-1] == (["test"], True)
    assert environment.is_ready(("test",))


def test_failed_setup_is_tried_again_on_what_is_there(repository, monkeypatch):
    environment.ready_environment()
    good = environment.install

    def failing(extras, fresh):
        raise environment.SetupError("offline")

    monkeypatch.setattr(environment, "install", failing)
    with pytest.raises(environment.SetupError):
        environment.ready_environment("test")
    assert not environment.is_ready(())
    monkeypatch.setattr(environment, "install", good)
    environment.ready_environment()
    assert repository[-1] == ([], False)


@pytest.mark.parametrize("version", [(3, 9, 1), (3, 13, 0), (4, 0, 0)])
def test_unfit_python_is_told(version, monkeypatch):
    monkeypatch.setattr(sys, "version_info", version)
    with pytest.raises(environment.SetupError, match=r"Python 3\.10 to 3\.12 is needed, this is [^\n]*$"):
        environment.check_python()


def test_missing_venv_module_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(environment.SetupError, match="no venv module"):
        environment.check_python()


def test_offline_pip_is_told_in_one_line(repository):
    environment.LOG.parent.mkdir()
    # Nothing listens on port 9 of this computer, so pip fails as it does without a network.
    command = [sys.executable, "-m", "pip", "install", "--isolated", "--retries", "1", "--index-url",
               "http://127.0.0.1:9/simple", "partialorganseg-not-there"]
    with pytest.raises(environment.SetupError) as error:
        environment.step("installing", command)
    line = str(error.value)
    assert "is this computer online?" in line
    assert str(environment.LOG) in line
    assert "\n" not in line


@pytest.mark.parametrize(("output", "reason"), [
    ("a\nERROR: Could not install: [Errno 28] No space left on device\n", "the disk is full"),
    ("x\nERROR: No matching distribution\nhint\n", "ERROR: No matching distribution"),
    ("something\nlast word\n\n", "last word"), ("", "no reason given"),
])
def test_the_line_that_says_why_is_recognised(output, reason):
    assert environment.explain(output) == reason


@pytest.mark.parametrize(("system", "driver", "settings", "expected"), [
    ("Linux", None, "", True), ("Linux", "/usr/bin/nvidia-smi", "", False), ("Windows", None, "", False),
    # Who has set a mirror or a folder of wheels knows why: the CPU wheels' index would go past it.
    ("Linux", None, "global.index-url='https://mirror'", False), ("Linux", None, ":env:.find-links='/wheels'", False),
])
def test_cpu_wheels_are_looked_for_only_where_they_help(system, driver, settings, expected, monkeypatch):
    monkeypatch.setattr(environment.platform, "system", lambda: system)
    monkeypatch.setattr(environment.shutil, "which", lambda name: driver)
    monkeypatch.setattr(environment.subprocess, "run",
                        lambda *_, **__: subprocess.CompletedProcess([], 0, stdout=settings))
    assert environment.wants_cpu_wheel(["pip"]) is expected


@pytest.mark.parametrize(("ct", "folder"), [("a b/scan.nii.gz", "a b/scan_segmentation"),
                                            ("SCAN.NRRD", "SCAN_segmentation"),
                                            ("series.1", "series.1_segmentation")])
def test_demo_puts_results_beside_the_ct(ct, folder):
    assert demo.result_folder(Path(ct)) == Path(folder)


def test_demo_without_a_ct_makes_one(monkeypatch, tmp_path):
    commands = []
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    monkeypatch.setattr(demo, "ready_environment", lambda: Path("python"))
    # `call` returns an exit code; the interpreter and `-m PartialOrganSegLib` in front are left out.
    monkeypatch.setattr(demo, "call", lambda command: commands.append(command[3:]) or 0)
    monkeypatch.setattr(sys, "argv", ["demo.py", "--organs", "liver"])
    assert demo.main() == 0
    (phantom, segment) = commands
    assert phantom[0] == "phantom"
    assert segment[:2] == ["segment", str(tmp_path / "output" / "demo" / "images" / "phantom_0.nii.gz")]
    assert segment[-2:] == ["--organs", "liver"]


def test_demo_tells_a_missing_ct_before_the_setup(monkeypatch):
    monkeypatch.setattr(demo, "ready_environment", lambda: pytest.fail("set up for nothing"))
    monkeypatch.setattr(sys, "argv", ["demo.py", "nowhere.nii.gz"])
    with pytest.raises(environment.SetupError, match=r"nowhere\.nii\.gz"):
        demo.main()


def test_every_package_is_installed():
    """setuptools finds the folders of the library that have an `__init__.py`: all that hold Python files must."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert '[tool.setuptools.packages.find]\ninclude = ["PartialOrganSegLib*"]\n' in project
    rooms = {path.parent for path in (ROOT / "PartialOrganSegLib").rglob("*.py")}
    assert [room for room in rooms if not (room / "__init__.py").is_file()] == []


def test_ci_runs_the_test_script_only():
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert lines == ["#!/usr/bin/env bash", 'exec python3 "$(dirname "$0")/../scripts/test.py"']
