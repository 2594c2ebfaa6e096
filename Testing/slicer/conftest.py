"""Runs the module on the host in `host/`, or in a real Slicer when this process is one. Tests use only the fixtures."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from pathlib import Path

import pytest

from Testing.helpers import ready_python

HERE = Path(__file__).resolve().parent
MODULE = HERE.parent.parent / "PartialOrganSeg" / "PartialOrganSeg.py"
IN_SLICER = "slicer" in sys.modules and hasattr(sys.modules["slicer"], "app")
PANEL_WIDTH = 400


def _why_no_host() -> str:
    """Why the host cannot run here; empty when it can. `import slicer` would find this folder."""
    missing = [name for name in ("slicer_core", "PySide6", "vtk") if importlib.util.find_spec(name) is None]
    return f"the module's tests need {', '.join(missing)}: pip install .[test]" if missing else ""


NO_HOST = "" if IN_SLICER else _why_no_host()
collect_ignore_glob = ["*test_*.py"] if NO_HOST else []
if not (IN_SLICER or NO_HOST):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
    # slicer-core takes every folder called slicer below sys.path for a part of itself, and this one is called so
    everything, sys.path[:] = sys.path[:], [entry for entry in sys.path if Path(entry).resolve() != HERE.parent]
    import slicer  # noqa: F401

    sys.path[:] = [str(HERE / "host"), str(HERE), *everything]
    import slicer_host

    # a real Slicer's Base/Python takes the place of the stand-ins for whoever has one
    slicer_host.useSlicerPython(os.environ.get("PARTIALORGANSEG_SLICER_PYTHON") or HERE / "host" / "standins")
    slicer_host.loadScriptedModule(MODULE)
else:
    sys.path.insert(0, str(HERE))


def pytest_report_header() -> str | None:
    return f"Slicer module: not tested, {NO_HOST}" if NO_HOST else None


@pytest.fixture(scope="session")
def launcher_folder(tmp_path_factory):
    """A folder with a `PythonSlicer` that is the ready Python; None where there is no such Python."""
    if IN_SLICER or ready_python.program() == sys.executable:
        return None
    folder = tmp_path_factory.mktemp("launcher")
    (folder / "PythonSlicer").symlink_to(ready_python.program())
    return folder


@pytest.fixture
def usual_python():
    """For tests of how a process starts, ends and is found: `quick_commands` leaves them alone."""


@pytest.fixture(autouse=True)
def quick_commands(request, monkeypatch, launcher_folder):
    """The panel's commands are forks of a Python that has imported PyTorch, through a launcher as Slicer has one."""
    if launcher_folder is not None and "usual_python" not in request.fixturenames:
        monkeypatch.setenv("PATH", f"{launcher_folder}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture(autouse=True)
def loud_callbacks(monkeypatch: pytest.MonkeyPatch):
    """An exception in a Qt slot or a VTK observer is only printed: here it fails the test."""
    raised: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: raised.append(error))
    yield
    if raised:
        raise raised[0]


@pytest.fixture(autouse=True)
def scene():
    """An empty scene before and after the test."""
    import slicer

    slicer.mrmlScene.Clear(0)
    yield slicer.mrmlScene
    slicer.mrmlScene.Clear(0)


@pytest.fixture(autouse=True)
def licences_known(tmp_path, tmp_path_factory, monkeypatch):
    """The installed models' licences were accepted before; what a test accepts, chooses or installs is gone then."""
    from PartialOrganSegPanel.shell import model_cards, model_licence, settings

    monkeypatch.setenv("PARTIALORGANSEG_MODELS", str(tmp_path / "own models"))
    accepted = {model_licence.setting(card): model_licence.fingerprint(card)
             for card in model_cards.installed_models().values()}
    work_list = tmp_path_factory.mktemp("work list")  # instead of one among the user's documents
    accepted["PartialOrganSeg/WorkList"] = str(work_list)
    monkeypatch.setattr(settings, "read_setting", accepted.get)
    monkeypatch.setattr(settings, "write_setting", accepted.__setitem__)
    return accepted


@pytest.fixture
def until():
    """`until(condition, seconds)`: lets the window work until the condition holds; fails when it does not in time."""
    import slicer

    def wait(condition, seconds=60.0):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{condition} did not hold within {seconds} s"
            slicer.app.processEvents()
            time.sleep(0.005)

    return wait


@pytest.fixture
def make_panel():
    """`make_panel(services)`: the module's panel in a window of its own; closed after the test."""
    import qt
    import slicer

    from PartialOrganSeg import PartialOrganSegWidget

    widgets = []

    def make(services):
        parent = slicer.qMRMLWidget()
        parent.setLayout(qt.QVBoxLayout())
        parent.setMRMLScene(slicer.mrmlScene)
        widget = PartialOrganSegWidget(parent, services)
        widget.setup()
        parent.resize(PANEL_WIDTH, 700)
        parent.show()
        widgets.append(widget)
        return widget.panel

    yield make
    for widget in widgets:
        widget.cleanup()
        widget.parent.close()
        if not IN_SLICER:
            # A closed widget lives on here: every later change of the scene would reach those of all earlier tests.
            for selector in widget.parent.findChildren(slicer.qMRMLNodeComboBox):
                selector.setMRMLScene(None)


@pytest.fixture
def bench(make_panel):
    """Section Segment."""
    from panel_helpers.segment_bench import Bench

    return Bench(make_panel)


@pytest.fixture
def course(make_panel, tmp_path):
    """Section Fine-tune, unfolded; its runs lie in a folder whose name has a blank and an umlaut."""
    from panel_helpers.finetune_course import Course

    return Course(make_panel, tmp_path / "Läufe 1")


@pytest.fixture
def folder(tmp_path):
    """Where pictures go: PARTIALORGANSEG_PICTURES if that is set, for looking at them."""
    chosen = Path(os.environ.get("PARTIALORGANSEG_PICTURES") or tmp_path)
    chosen.mkdir(parents=True, exist_ok=True)
    return chosen
