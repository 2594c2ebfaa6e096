"""The model that was chosen last: a new scene begins with it."""

import shutil

import pytest
import slicer
from panel_helpers.segment_bench import Bench
from panel_helpers.start_models import write_model

from PartialOrganSegLib.models.folders import user_models


@pytest.fixture
def bench(make_panel):
    write_model(user_models() / "mine", "mine")
    bench = Bench(make_panel)
    bench.ui.modelBox.setCurrentText("mine")
    bench.section._model_chosen(bench.ui.modelBox.currentIndex)
    return bench


def models(panel):
    """To segment with, as chosen and as shown, and to start fine-tuning from."""
    return (panel.parameters.segment.model, panel.section("Segment").ui.modelBox.currentText,
            panel.parameters.finetune.model)


def test_a_new_scene_begins_with_it(bench, make_panel, scene):
    assert models(bench.panel) == ("mine", "mine", "embedded")
    scene.Clear(0)
    assert models(bench.panel) == ("mine", "mine", "mine")
    bench.panel.cleanup()
    scene.RemoveNode(scene.GetSingletonNode("PartialOrganSeg", "vtkMRMLScriptedModuleNode"))  # as when Slicer starts
    assert models(Bench(make_panel).panel) == ("mine", "mine", "mine")


def test_a_scene_that_says_which_one_keeps_it(bench, scene, tmp_path):
    bench.panel.parameters.segment.model = "embedded"
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    assert models(bench.panel) == ("mine", "mine", "mine")
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert models(bench.panel) == ("embedded", "embedded", "embedded")


def test_one_that_was_removed_is_forgotten(bench, scene):
    shutil.rmtree(user_models() / "mine")
    scene.Clear(0)
    assert models(bench.panel) == ("embedded", "embedded", "embedded")
