"""Section Fine-tune: its curves in the plot view, and pictures of the panel."""


import numpy as np
import slicer
from panel_helpers.finetune_course import column
from panel_helpers.pictures import picture_of
from panel_helpers.scenes import add_ct, phantom
from PartialOrganSegPanel.finetune.plots import DICE, LOSS, Curves
from PartialOrganSegPanel.scene.stroke_labelmap import draw_labelmap
from PartialOrganSegPanel.scene.strokes import new_strokes
from PartialOrganSegPanel.shell.parameters import Plot

from PartialOrganSegLib.organs import WORD16


def test_plots_show_loss_and_dice_live(course):
    course.add_case()
    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    before = layout.SlicerLayoutFourUpView
    layout.SetViewArrangement(before)
    course.start()
    course.plan()
    course.process.say("metric", step=0, dice_liver=0.9, dice_spleen=0.5, dice_mean=0.7)
    course.process.say("metric", step=10, loss=2.0, marginal_dice=0.5, gradient=3.0, learning_rate=1e-4, seconds=1.0,
                       waited=0.1, processor=0.3)
    course.process.say("metric", step=20, loss=1.5, marginal_dice=0.4, gradient=3.0, learning_rate=1e-4, seconds=1.0,
                       waited=0.1, processor=0.3)
    course.process.say("metric", step=20, dice_liver=0.9, dice_spleen=0.6, dice_mean=0.75)
    course.process.say("metric", step=20, alpha=0.25, mean_dice=0.74)
    course.process.say("metric", step=20, total_seconds=12.0, waited_share=0.1)
    assert column(LOSS, "step") == [10, 20]
    assert column(LOSS, "marginal_dice") == [0.5, 0.4]
    assert column(DICE, "step") == [0, 20]
    assert column(DICE, "spleen") == [0.5, 0.6]
    charts = {node.GetTitle(): node for node in slicer.util.getNodesByClass("vtkMRMLPlotChartNode")}
    curves = {title: {chart.GetNthPlotSeriesNode(at).GetYColumnName()
                      for at in range(chart.GetNumberOfPlotSeriesNodes())} for title, chart in charts.items()}
    assert curves == {"Teaching: loss": {"loss", "marginal_dice"}, "Teaching: Dice": {"liver", "mean", "spleen"}}
    liver = next(node for node in slicer.util.getNodesByClass("vtkMRMLPlotSeriesNode") if node.GetName() == "liver")
    assert np.allclose(liver.GetColor(), np.array([190, 90, 60]) / 255, atol=0.01)
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActivePlotChartID() == charts["Teaching: loss"].GetID()
    assert layout.GetViewArrangement() != before
    course.settings.plot = Plot.DICE
    course.section._plot_chosen(1)
    assert selection.GetActivePlotChartID() == charts["Teaching: Dice"].GetID()
    course.settings.plot = Plot.NONE
    course.section._plot_chosen(2)
    assert layout.GetViewArrangement() == before


def test_next_run_uses_the_same_nodes_without_old_curves(course, scene):
    course.add_case()
    course.start()
    course.process.say("metric", step=0, dice_liver=0.9, dice_spleen=0.5)
    course.process.end(1)
    course.start()
    course.process.say("metric", step=0, dice_liver=0.8)
    assert [node.GetYColumnName() for node in slicer.util.getNodesByClass("vtkMRMLPlotSeriesNode")] == ["liver"]
    assert scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 2
    assert column(DICE, "liver") == [0.8]


def test_no_plot_is_shown_unless_wanted(course):
    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    before = layout.SlicerLayoutFourUpView
    layout.SetViewArrangement(before)
    course.settings.plot = Plot.NONE
    course.add_case()
    course.start()
    course.process.say("metric", step=10, loss=2.0)
    assert layout.GetViewArrangement() == before


def test_curves_of_a_figure_that_is_missing_now_and_then():
    curves = Curves([{"step": 10, "loss": 2.0}, {"step": 20, "loss": 1.0, "prior": 0.5}, {"note": "nothing"}])
    columns = curves.columns(LOSS)
    assert columns["step"].tolist() == [10, 20]
    assert np.isnan(columns["prior"][0])
    assert columns["prior"][1] == 0.5
    assert curves.columns(DICE)["step"].size == 0


# --- pictures

def test_pictures(course, folder):
    volume, _ = course.add_case("CT abdomen of Müller, Jörg", "liver", "spleen", "left_kidney")
    strokes = np.where(np.isin(phantom()[1], (0, 8)), phantom()[1], 255)
    draw_labelmap(new_strokes(volume, WORD16.organs), volume, strokes)
    course.add_case("second", "spleen")
    add_ct("third")
    window = course.section.widget.window()
    for section in course.panel.sections:
        section.widget.setVisible(section is course.section)
    course.start()
    course.plan()
    course.process.say("progress", stage="training", done=3, total=40, eta_s=75.2)
    picture_of(window, folder / "finetune_working.png")
    course.process.say("warning", message="CT abdomen of Müller, Jörg: spleen is labelled in a single slice (12); a "
                                          "few more slices would help")
    course.finish()
    course.ui.advancedCollapsible.collapsed = False
    window.resize(400, 900)
    picture_of(window, folder / "finetune_done.png")
    assert window.width == 400
    for name in ("working", "done"):
        assert (folder / f"finetune_{name}.png").stat().st_size > 5000
