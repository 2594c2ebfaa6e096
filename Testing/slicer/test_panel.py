"""The panel as a whole: what is shown at the start, what one run shows, and what ends it."""

import importlib.util
import sys
from pathlib import Path

import pytest
import slicer
import slicer.util
from panel_helpers.doubles import Doubles, FakeInstaller
from panel_helpers.scenes import add_ct
from PartialOrganSegPanel.segment.section import SegmentSection


def test_panel_without_packages_offers_to_install_them(make_panel):
    services = Doubles("install", installer=FakeInstaller("torch>=2.4"))
    panel = make_panel(services)
    setup, segment = panel.section("Setup"), panel.section("Segment")
    panel.parameters.inputVolume = add_ct()
    assert setup.widget.visible
    assert "torch" in setup.ui.missingLabel.text
    assert not segment.ui.segmentButton.enabled
    assert "packages" in segment.ui.segmentButton.toolTip
    setup.ui.installButton.click()
    assert "10 MB" in services.dialogs.asked[0][1]
    assert services.installer.calls == [None]
    assert not setup.widget.visible
    assert segment.ui.segmentButton.enabled


def test_the_organs_codes_are_loaded_when_slicer_has_started(monkeypatch):
    pytest.importorskip("slicer_host", reason="a real Slicer has started already")
    logic, paths = slicer.modules.terminologies.logic(), []

    class Terminologies:
        """Loads as Slicer's own logic, and notes what."""

        @staticmethod
        def LoadTerminologyFromFile(path):
            paths.append(Path(path).name)
            return logic.LoadTerminologyFromFile(path)

    monkeypatch.setattr(slicer.modules.terminologies, "logic", Terminologies)
    slicer.app.startupCompleted.emit()
    assert paths == ["PartialOrganSeg.term.json"]


def test_without_pytest_the_self_test_runs_and_that_is_said(monkeypatch, capsys):
    """As CTest does on a machine that builds extensions."""
    path = Path(__file__).resolve().parent.parent / "run_in_slicer.py"
    spec = importlib.util.spec_from_file_location("run_in_slicer", path)
    runner = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runner)
    monkeypatch.setitem(sys.modules, "pytest", None)
    assert runner.main() == 0
    said = capsys.readouterr().err
    assert "only the self-test" in said
    assert "test_panel" in said
    from PartialOrganSeg import PartialOrganSegTest

    with monkeypatch.context() as patch:
        patch.setattr("PartialOrganSegPanel.segment.section.SegmentSection.refresh", lambda self: None)
        with pytest.raises(AssertionError):
            PartialOrganSegTest("test_panel").test_panel()


def test_no_section_looks_at_a_scene_before_it_is_loaded(make_panel, scene, tmp_path, monkeypatch):
    """Parameters are there before the nodes that they name, and others remove nodes before the panel hears of the end:
    a section that chose a CT in between would replace the one that was saved."""
    panel = make_panel(Doubles())
    panel.enter()
    add_ct("first")
    panel.parameters.inputVolume = add_ct("second")
    leftover = scene.AddNewNodeByClass("vtkMRMLTextNode", "leftover")
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    scene.Clear(0)
    looks, loading = [], []
    refresh = SegmentSection.refresh

    def look(section):
        looks.append(bool(loading))
        refresh(section)

    def remove(_caller, _event):  # before the panel's own observer, as the logics of other modules
        scene.RemoveNode(slicer.util.getNode(leftover.GetName()))
        loading.clear()

    monkeypatch.setattr(SegmentSection, "refresh", look)
    tags = [scene.AddObserver(scene.StartImportEvent, lambda *_: loading.append(True), 1.0),
            scene.AddObserver(scene.EndImportEvent, remove, 1.0)]
    slicer.util.loadScene(str(path))
    for tag in tags:
        scene.RemoveObserver(tag)
    assert looks
    assert not any(looks)
    assert panel.parameters.inputVolume.GetName() == "second"


def test_nodes_that_come_in_a_batch_are_noticed(make_panel, scene):
    """As other modules add many."""
    panel = make_panel(Doubles())
    panel.enter()
    scene.StartState(scene.BatchProcessState)
    add_ct("CT")
    assert panel.parameters.inputVolume is None
    scene.EndState(scene.BatchProcessState)
    assert panel.parameters.inputVolume.GetName() == "CT"
