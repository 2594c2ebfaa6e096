"""The curves of a run in Slicer's plot view: loss and Dice per organ, as tables, series and charts of the scene.

There is one set of nodes, found by an attribute: it is used again by the next run, comes back with the scene, and
what a user deletes is made anew with the next figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import slicer
import slicer.util
from slicer.i18n import tr as _

LOSS, DICE = "loss", "dice"
STEP = "step"
_PREFIX = "dice_"  # of an organ's Dice among the figures of a step
_NOT_LOSSES = {STEP, "stage", "gradient", "learning_rate", "seconds", "waited", "processor"}
# In figures of the whole run, and of alphas tried after the last step ("start_share" up to 0.4).
_OF_NO_STEP = {"total_seconds", "alpha", "start_share"}
_ROLE = "PartialOrganSeg.FineTunePlot"  # attribute: LOSS, DICE, or one of them with a curve's name


class Curves:
    """Step to figures, for both charts. A figure of an earlier step than the last drops what came after it: the run
    was resumed from there."""

    def __init__(self, figures: Iterable[Mapping[str, Any]] = ()) -> None:
        self.of: dict[str, dict[int, dict[str, float]]] = {LOSS: {}, DICE: {}}
        for step_figures in figures:
            self.add(step_figures)

    def add(self, figures: Mapping[str, Any]) -> bool:
        """Takes the figures of one step; whether there was one to plot."""
        step = figures.get(STEP)
        if step is None or _OF_NO_STEP & figures.keys():
            return False
        numbers = {name: float(value) for name, value in figures.items() if isinstance(value, int | float)}
        dice = {name.removeprefix(_PREFIX): value for name, value in numbers.items() if name.startswith(_PREFIX)}
        chart, values = DICE, dice
        if not dice:  # figures of a validation have Dice, those of a training step losses
            chart, values = LOSS, {name: value for name, value in numbers.items() if name not in _NOT_LOSSES}
        for steps in self.of.values():
            for later in [at for at in steps if at > step]:
                del steps[later]
        if values:
            self.of[chart].setdefault(step, {}).update(values)
        return bool(values)

    def columns(self, chart: str) -> dict[str, np.ndarray]:
        """Step and every curve as arrays of one length; NaN where a step has no figure."""
        steps = sorted(self.of[chart])
        columns = {STEP: np.array(steps, float)}
        for row, step in enumerate(steps):
            for name, value in self.of[chart][step].items():
                columns.setdefault(name, np.full(len(steps), math.nan))[row] = value
        return columns


def draw(curves: Curves, colours: Mapping[str, tuple[int, int, int]]) -> None:
    """Brings tables, series and charts up to date. `colours`: RGB in 0-255 of the organs' curves."""
    for chart, title, axis in ((LOSS, _("Teaching: loss"), _("loss")), (DICE, _("Teaching: Dice"), _("Dice"))):
        columns = curves.columns(chart)
        table = _node("vtkMRMLTableNode", chart, title)
        slicer.util.updateTableFromArray(table, list(columns.values()), list(columns))
        plot = _node("vtkMRMLPlotChartNode", chart, title)
        plot.SetTitle(title)
        plot.SetXAxisTitle(_("step"))
        plot.SetYAxisTitle(axis)
        if chart == DICE:
            plot.SetYAxisRangeAuto(False)
            plot.SetYAxisRange(0.0, 1.0)
        series_ids = {_series(chart, name, table, colours).GetID() for name in columns if name != STEP}
        # series of the run before that this one does not have
        for node in slicer.util.getNodesByClass("vtkMRMLPlotSeriesNode"):
            if (node.GetAttribute(_ROLE) or "").startswith(f"{chart}.") and node.GetID() not in series_ids:
                slicer.mrmlScene.RemoveNode(node)
        for series_id in series_ids:
            if not plot.HasPlotSeriesNodeID(series_id):
                plot.AddAndObservePlotSeriesNodeID(series_id)


def _series(chart: str, name: str, table: slicer.vtkMRMLTableNode,
            colours: Mapping[str, tuple[int, int, int]]) -> slicer.vtkMRMLPlotSeriesNode:
    role = f"{chart}.{name}"
    series = _find("vtkMRMLPlotSeriesNode", role)
    if series is None:  # an older one keeps the look that the user may have given it
        series = _node("vtkMRMLPlotSeriesNode", role, name.replace("_", " "))
        if name in colours:
            series.SetColor(*(value / 255 for value in colours[name]))
        else:
            series.SetUniqueColor()
        series.SetPlotType(series.PlotTypeScatter)
        # Dice is measured at few steps: without markers a single one would not be seen
        series.SetMarkerStyle({LOSS: series.MarkerStyleNone, DICE: series.MarkerStyleCircle}[chart])
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName(STEP)
    series.SetYColumnName(name)
    return series


def _find(class_name: str, role: str) -> slicer.vtkMRMLNode | None:
    return next((node for node in slicer.util.getNodesByClass(class_name) if node.GetAttribute(_ROLE) == role), None)


def _node(class_name: str, role: str, name: str) -> slicer.vtkMRMLNode:
    node = _find(class_name, role)
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass(class_name, slicer.mrmlScene.GenerateUniqueName(name))
        node.SetAttribute(_ROLE, role)
    return node


class PlotView:
    """Shows a chart in the plot view, in a layout that has one, and brings the earlier layout back."""

    def __init__(self) -> None:
        self._before: int | None = None

    def show(self, chart: str) -> None:
        """Shows `LOSS` or `DICE`; does nothing while there are no curves."""
        node = _find("vtkMRMLPlotChartNode", chart)
        layout = self._layout()
        if node is None or layout is None:
            return
        if self._before is None:
            self._before = layout.GetViewArrangement()
        slicer.modules.plots.logic().ShowChartInLayout(node)

    def hide(self) -> None:
        """Brings back the layout that was there before `show`."""
        before, self._before = self._before, None
        layout = self._layout()
        if before is not None and layout is not None:
            layout.SetViewArrangement(before)

    @staticmethod
    def _layout() -> slicer.vtkMRMLLayoutNode | None:
        return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
