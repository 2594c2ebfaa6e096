"""When the user works on an organ: what the clock of a review takes for a sign of it, and when its time is saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import slicer.util
import vtk
from slicer.util import VTKObservationMixin

from .logic import Review

SAVE_S = 5.0  # of active time that may be lost when the scene is saved in the midst of work


class WorkingTime(VTKObservationMixin):
    """`review()`: what is at hand, None when there is nothing."""

    def __init__(self, review: Callable[[], Review | None]) -> None:
        VTKObservationMixin.__init__(self)
        self._review = review

    def listen(self) -> None:
        """The mouse in a slice view, or a view that moves, are signs of work until `stop_listening`."""
        crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        if crosshair is not None:
            self._observe(crosshair, slicer.vtkMRMLCrosshairNode.CursorPositionModifiedEvent)
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            self._observe(node, vtk.vtkCommand.ModifiedEvent)

    def stop_listening(self) -> None:
        self.removeObservers()

    def switch(self, segment_id: str) -> None:
        """The user goes on with another organ; an empty ID stops the clock."""
        review = self._review()
        if review is not None:
            review.clock.switch(segment_id)

    def sign(self) -> None:
        """The user did something."""
        review = self._review()
        if review is None or review.segmentation is None:
            return
        review.clock.sign()
        if review.clock.pending > SAVE_S:
            review.save_times()

    def _observe(self, node: slicer.vtkMRMLNode, event: int) -> None:
        if not self.hasObserver(node, event, self._moved):
            self.addObserver(node, event, self._moved)

    def _moved(self, _caller: Any, _event: Any) -> None:
        self.sign()


def end_work(review: Review) -> None:
    """Stops the clock and writes the times, unless the segmentation has left the scene."""
    review.clock.switch("")
    if review.segmentation is not None:
        review.write_times()
