"""Follows the page *In 3D Slicer* of get-started on a CT of your own, step by step through the panel's buttons.

    python Testing/benchmarks/get_started.py CT.nii.gz [--minutes 2] [--pictures FOLDER]

Runs on the host that the module's tests run on (`pip install .[test]`), with the real command, the embedded model and
nothing prepared. Prints the seconds of each step and what the panel said, and writes pictures of the panel and slices.
Nobody paints here: a stroke is put where the embedded model's liver was cut before.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TESTS = Path(__file__).resolve().parent.parent / "slicer"
LONGEST_S = 900.0  # of a step
PANEL_WIDTH = 400


class Reader:
    """Someone who does what the page says. `steps`: (what was done, seconds, what the panel said)."""

    def __init__(self, ct: Path, folder: Path, pictures: Path) -> None:
        import qt
        import slicer
        from panel_helpers.doubles import Doubles
        from PartialOrganSegPanel.shell import settings

        from PartialOrganSeg import PartialOrganSegWidget

        answers = {"PartialOrganSeg/WorkList": str(folder / "work list")}
        settings.read_setting, settings.write_setting = answers.get, answers.__setitem__
        parent = slicer.qMRMLWidget()
        parent.setLayout(qt.QVBoxLayout())
        parent.setMRMLScene(slicer.mrmlScene)
        self.folder, self.pictures, self.steps = folder, pictures, []
        self.services = Doubles(real_process=True, folder=folder)
        self.widget = PartialOrganSegWidget(parent, self.services)
        self.widget.setup()
        parent.show()
        self.panel = self.widget.panel
        self.volume = slicer.util.loadVolume(str(ct))

    # --- a user's hands and eyes

    def of(self, section: str) -> Any:
        """The widgets of a section."""
        return self.panel.section(section).ui

    def press(self, section: str, button: str, *answers: str) -> None:
        """A press of a button that can be seen and pressed; `answers` are given where the panel asks."""
        widget = getattr(self.of(section), button)
        assert widget.visible, f"{button} is not to be seen"
        assert widget.enabled, f"{button}: {widget.toolTip}"
        self.services.dialogs.answers.extend(answers)
        widget.click()
        assert not self.services.dialogs.answers, f"{button} did not ask: {answers}"

    def does(self, what: str, act: Callable[[], None], over: Callable[[], bool], said: Callable[[], str]) -> None:
        """One step of the page: acts, and waits until it is `over`."""
        import slicer

        start = time.monotonic()
        act()
        while not over():
            slicer.app.processEvents()
            time.sleep(0.005)
            if time.monotonic() - start > LONGEST_S:
                raise TimeoutError(what)
        seconds, line = time.monotonic() - start, said()
        self.steps.append((what, seconds, line))
        print(f"{what:<28} {seconds:7.1f} s   {' / '.join(line.splitlines())}", flush=True)

    def look(self, name: str, section: str) -> None:
        """Pictures of the section and of the axial slice through the segmentation's middle."""
        from panel_helpers.pictures import fit, picture_of, slice_picture

        fit(self.widget.parent, PANEL_WIDTH)  # Slicer scrolls the panel
        picture_of(self.panel.section(section).widget, self.pictures / f"{name}_panel.png")
        bounds = np.zeros(6)
        self.volume.GetRASBounds(bounds)
        slice_picture(self.volume, self.pictures / f"{name}_slice.png", position=bounds.reshape(3, 2).mean(1))

    def idle(self) -> bool:
        return self.panel.job is None

    # --- the page's five steps

    def segment(self) -> None:
        self.panel.enter()
        assert self.panel.parameters.inputVolume is self.volume, "the CT in the slice views is chosen as CT"
        strip = self.panel.section("Segment").strip
        self.does("1 Segment", lambda: self.press("Segment", "segmentButton", "accept"), self.idle,
                  lambda: strip.text.text)
        node = self.panel.parameters.segmentation
        assert node is not None, strip.text.text
        assert node.GetName() == f"{self.volume.GetName()} segmentation"
        self.look("1_segment", "Segment")

    def review(self) -> None:
        from PartialOrganSegPanel.scene.organ_rows import ABSENT, ACCEPTED, PREDICTED, row

        node, ui = self.panel.parameters.segmentation, self.of("Review")
        self.panel.parameters.review.advance = False
        ui.organTable.setCurrentCell(1, 0)
        organ = ui.organTable.item(1, 0).text().replace(" ", "_")
        for button, state in (("accept", ACCEPTED), ("absent", ABSENT), ("undo", ACCEPTED), ("back", PREDICTED)):
            self.does(f"2 {getattr(ui, button + 'Button').text}",
                      lambda name=button: self.press("Review", f"{name}Button"),
                      lambda expected=state: row(node, organ).state == expected, lambda: "")
        self.press("Review", "onlyButton")
        self.press("Review", "onlyButton")
        self.press("Review", "nextButton")
        ui.editorCollapsible.collapsed = False
        ui.editorCollapsible.collapsed = True
        self.look("2_review", "Review")

    def correct(self) -> None:
        """Half of the liver's slices lose a slab, and a stroke in it asks for it again."""
        import slicer.util
        from panel_helpers.painting import paint
        from PartialOrganSegPanel.scene.organ_rows import ACCEPTED, row, rows

        node = self.panel.parameters.segmentation
        segment_id = row(node, "liver").segment_id
        liver = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, self.volume) > 0
        k = int(np.bincount(np.nonzero(liver)[0]).argmax())
        cut = liver.copy()
        cut[k - 1:k + 2] = False
        slicer.util.updateSegmentBinaryLabelmapFromArray(cut.astype(np.uint8), node, segment_id, self.volume)
        lines, columns = np.nonzero(liver[k])
        j = int(np.median(lines))
        in_row = columns[lines == j]
        i = int(np.median(in_row))
        self.of("Review").organTable.setCurrentCell(0, 0)
        section = self.panel.section("Scribble")
        live = section._live.correction
        started = len(self.services.processes)
        self.does("3 Correct with strokes", lambda: self.press("Review", "strokesButton"),
                  lambda: len(self.services.processes) > started and live._child.ready, lambda: "")
        stroke = np.s_[k, j, max(i - 20, in_row[0]):i + 20]
        self.does("3 a stroke of the liver", lambda: paint(section, stroke),
                  lambda: "Corrected in" in self.of("Scribble").correctLabel.text,
                  lambda: self.of("Scribble").correctLabel.text)
        after = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, self.volume) > 0
        missing = liver & ~cut
        print(f"{'':<28} {np.count_nonzero(after & missing) / np.count_nonzero(missing):7.0%} of the slab is back, "
              f"{np.count_nonzero(after & ~liver)} voxels beyond the liver of before", flush=True)
        self.look("3_correct", "Scribble")
        self.does("3 Undo", lambda: self.press("Scribble", "undoStrokesButton"),
                  lambda: "taken back" in self.of("Scribble").correctLabel.text,
                  lambda: self.of("Scribble").correctLabel.text)
        self.does("3 the stroke again", lambda: paint(section, stroke),
                  lambda: "Corrected in" in self.of("Scribble").correctLabel.text,
                  lambda: self.of("Scribble").correctLabel.text)
        self.press("Scribble", "correctButton")
        self.does("2 Accept all", lambda: self.press("Review", "acceptAllButton"),
                  lambda: any(listed.state == ACCEPTED for listed in rows(node)),
                  lambda: self.of("Review").messageLabel.text)

    def export(self, series: Path) -> None:
        from PartialOrganSegPanel.shell.parameters import ExportFormat

        section = self.panel.section("Export")
        for kind in ExportFormat:
            self.panel.parameters.export.format = kind
            target = self.folder / kind.value
            target.mkdir()
            dialogs = self.services.dialogs
            folders = [target, series]
            dialogs.choose_folder = lambda _title, answers=folders: answers.pop(0)
            answers = () if kind is ExportFormat.NIFTI else ("choose",)
            self.does(f"4 Export {kind.value}", lambda given=answers: self.press("Export", "exportButton", *given),
                      lambda: section._work is None, lambda: section.strip.text.text)
            assert list(target.iterdir()), section.strip.text.text
        self.look("4_export", "Export")

    def teach(self, minutes: float) -> None:
        section, ui = self.panel.section("FineTune"), self.of("FineTune")
        settings = self.panel.parameters.finetune
        settings.folder, settings.minutes, settings.device = str(self.folder / "runs"), minutes, "cpu"
        ui.finetuneCollapsible.collapsed = False
        self.does("5 Start", lambda: self.press("FineTune", "startButton"), self.idle, lambda: section.strip.text.text)
        self.look("5_teach", "FineTune")
        self.panel.parameters.compareVolume = self.volume
        self.panel.refresh()
        self.does("5 Show before/after", lambda: self.press("FineTune", "compareButton"), self.idle,
                  lambda: section.strip.text.text)
        self.look("5_compare", "FineTune")
        self.does("5 Use this model", lambda: self.press("FineTune", "useButton", "use"), self.idle,
                  lambda: section.strip.text.text)
        print(f"{'':<28} segments with: {self.panel.parameters.segment.model}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("ct", type=Path, help="a CT of an abdomen")
    parser.add_argument("--minutes", type=float, default=2.0, help="for teaching")
    parser.add_argument("--pictures", type=Path, help="a folder for pictures (default: none are kept)")
    arguments = parser.parse_args()
    sys.path.insert(0, str(TESTS))
    sys.path.insert(0, str(TESTS.parent.parent))
    import conftest  # noqa: F401  makes the host, or finds the real Slicer
    from panel_helpers.scene_series import write_scene_series

    with tempfile.TemporaryDirectory(prefix="Größe 1 ") as folder:
        # What is taught is installed here, not among the models of whoever runs this.
        os.environ["PARTIALORGANSEG_MODELS"] = str(Path(folder) / "models")
        pictures = arguments.pictures or Path(folder) / "pictures"
        pictures.mkdir(parents=True, exist_ok=True)
        reader = Reader(arguments.ct, Path(folder), pictures)
        write_scene_series(reader.volume, Path(folder) / "series")
        reader.segment()
        reader.review()
        reader.correct()
        reader.export(Path(folder) / "series")
        reader.teach(arguments.minutes)
        reader.widget.cleanup()


if __name__ == "__main__":
    main()
