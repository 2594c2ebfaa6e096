"""How long the panel holds Slicer's window, step by step, on a CT of 560 x 512 x 480 voxels with sixteen organs.

    python Testing/benchmarks/panel.py [--size 560 512 480] [--json figures.json]

Every act of a user is done as the user does it, through the section's button, and the window works on until nothing is
left to do. The figure of an act is its longest step: the longest time in which the window could not answer, beside it
the processor's time of that step, which other work on the computer does not change. The budget is 100 ms. Needs what
the module's tests need (`pip install .[test]`), and about 4 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

BUDGET_MS = 100.0
TESTS = Path(__file__).resolve().parent.parent / "slicer"


class Window:
    """Watches the event loop: a step ends where the window could have answered."""

    def __init__(self) -> None:
        import qt
        import slicer

        self._process_events = slicer.app.processEvents
        self._beat = qt.QTimer()
        # A timer of 0 ms fires whenever the event loop is free: the gaps between are what the user waits.
        self._beat.setInterval(0)
        self._beat.connect("timeout()", self._ticked)
        self._last = self._last_cpu = 0.0
        self._steps: list[tuple[float, float]] = []
        self.figures: dict[str, dict[str, float]] = {}

    def _begin(self) -> None:
        self._last, self._last_cpu = time.perf_counter(), time.thread_time()

    def _ticked(self) -> None:
        wall, cpu = time.perf_counter() - self._last, time.thread_time() - self._last_cpu
        self._steps.append((1000 * wall, 1000 * cpu))
        self._begin()

    def measure(self, act: str, do: Callable[[], None], busy: Callable[[], bool]) -> None:
        """Does something and lets the window work while it is `busy`; notes the longest step in ms."""
        self._steps = []
        self._begin()
        self._beat.start()
        do()
        self._ticked()
        while busy():
            self._process_events()
        self._beat.stop()
        wall, cpu = (max(times) for times in zip(*self._steps, strict=True))
        self.figures[act] = {"wall_ms": round(wall), "cpu_ms": round(cpu)}
        print(f"{act:<42} {wall:8.0f} ms {cpu:8.0f} ms of the processor", flush=True)


def large(array, size):
    """An array (z, y, x) enlarged to at least `size` (i, j, k), and cut to it."""
    for axis, length in enumerate(size[::-1]):
        array = array.repeat(-(-length // array.shape[axis]), axis=axis)
    return array[:size[2], :size[1], :size[0]].copy()


def run(size: tuple[int, int, int], folder: Path) -> dict[str, dict[str, float]]:
    """All acts, one after the other; gives the longest step of each in ms."""
    import numpy as np
    import qt
    import slicer
    import slicer.util
    from panel_helpers.doubles import Doubles
    from panel_helpers.scenes import phantom, write_segment_result
    from PartialOrganSegPanel.review.prediction import prediction_node
    from PartialOrganSegPanel.scene.organ_rows import row
    from PartialOrganSegPanel.scene.voxel_counts import labelmap, voxel_array

    from PartialOrganSeg import PartialOrganSegWidget

    parent = slicer.qMRMLWidget()
    parent.setLayout(qt.QVBoxLayout())
    parent.setMRMLScene(slicer.mrmlScene)
    services = Doubles("accept", folder=folder)  # the model's licence
    widget = PartialOrganSegWidget(parent, services)
    widget.setup()
    parent.show()
    panel, window = widget.panel, Window()
    segment, review = panel.section("Segment"), panel.section("Review")

    def busy() -> bool:
        return bool(panel.job is not None or review.looking.active or review._files.why_not)

    labels = large(phantom()[1], size)
    volume = slicer.util.addVolumeFromArray(large(phantom()[0], size), name="CT", ijkToRAS=np.diag([-0.7, -0.7, 1, 1]))
    panel.parameters.inputVolume = volume
    window.measure("open the module", panel.enter, busy)
    window.measure("start to segment", segment.ui.segmentButton.click, lambda: not services.processes)
    window.measure("result", write_segment_result(services.processes[-1], labels), busy)
    node = panel.parameters.segmentation
    copies = [labelmap(prediction_node(node).GetSegmentation().GetSegment(segment_id))
              for segment_id in prediction_node(node).GetSegmentation().GetSegmentIDs()]
    copied = sum(voxel_array(image).nbytes for image in copies if image is not None)
    print(f"{'memory of the kept prediction':<42} {copied / 1e6:8.0f} MB")

    def draw() -> None:
        review.editor.saveStateForUndo()
        image = labelmap(node.GetSegmentation().GetSegment(row(node, "liver").segment_id))
        value = node.GetSegmentation().GetSegment(row(node, "liver").segment_id).GetLabelValue()
        # As a brush of the segment editor writes: into the labelmap, and then the events that the editor sends.
        voxel_array(image)[40:44, 40:60, 40:60] = value
        image.Modified()
        node.GetSegmentation().InvokeEvent(slicer.vtkSegmentation.SourceRepresentationModified)
        node.Modified()

    panel.parameters.review.advance = False
    window.measure("a pause in drawing", draw, busy)
    assert row(node, "liver").state == "edited"
    window.measure("undo", review.ui.undoButton.click, busy)
    assert row(node, "liver").state == "predicted"
    window.measure("draw again", draw, busy)
    window.measure("back to predicted", review.ui.backButton.click, busy)
    window.measure("accept", review.ui.acceptButton.click, busy)
    review.ui.organTable.setCurrentCell(1, 0)
    window.measure("absent", review.ui.absentButton.click, busy)
    window.measure("module left", panel.exit, busy)
    window.measure("module opened again", panel.enter, busy)
    window.measure("save a case", review.ui.caseButton.click, busy)
    widget.cleanup()
    return window.figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, nargs=3, default=(560, 512, 480), metavar=("I", "J", "K"))
    parser.add_argument("--json", type=Path, help="a file for the figures")
    arguments = parser.parse_args()
    sys.path.insert(0, str(TESTS))
    import tempfile

    import conftest  # noqa: F401  makes the host, or finds the real Slicer

    with tempfile.TemporaryDirectory() as folder:
        figures = run(tuple(arguments.size), Path(folder))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    # By the processor's time: on a loaded machine the wall clock tells of the others.
    slow = [act for act, longest in figures.items() if longest["cpu_ms"] > BUDGET_MS]
    print(f"over {BUDGET_MS:.0f} ms: {', '.join(slow) or 'nothing'}")


if __name__ == "__main__":
    main()
