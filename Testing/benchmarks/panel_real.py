"""A reader's day with the panel on a real CT, with the real commands: seconds, Dice, and files read back.

    python Testing/benchmarks/panel_real.py ct.nii.gz labels.nii.gz -o FOLDER [--organ left_kidney] [--minutes 2]
                                            [--parts correct teach serve]

`correct`: segment, correct an organ by a stroke, undo, draw again, accept all, export (NIfTI, DICOM SEG, RT structure
set) and save the scene. `teach`: load it, teach the model, use it. `serve`: segment once more on a server, with a wrong
and with the right token. The labels (of the same space) take the place of the reader's eyes: they say where the organ
is most wrong. Figures, and pictures of the panel and the slices, lie in FOLDER. Needs what the module's tests need
(`pip install .[test]`).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "slicer"))

from Testing.helpers.exported_files import dice, differences
from Testing.helpers.worst_stroke import line_through, worst_slice

LONGEST_S = 900.0  # of an act
SCENE, TAUGHT = "scene.mrb", "taught"  # the scene's file, the new model's name
STROKE_MM = 4.0  # as wide as the panel's brush
PARTS = ("correct", "teach", "serve")
OTHER_SERVER_LINE = re.compile(r"answers at (\S+);")


class Reader:
    """Sits before the panel; `figures` collects what was measured."""

    def __init__(self, ct: Path, labels: Path, folder: Path, organ: str) -> None:
        import qt
        import slicer
        import slicer.util
        from panel_helpers.doubles import Doubles

        from PartialOrganSeg import PartialOrganSegWidget
        from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
        from PartialOrganSegLib.organs import WORD16

        self.slicer, self.folder, self.organ = slicer, folder, organ
        self.figures: dict[str, object] = {}
        self.where: tuple[float, float, float] | None = None  # of the stroke, RAS mm
        self.ct, self.truth = read_ct(ct), read_labelmap(labels)
        self.value = WORD16.names.index(organ) + 1
        parent = slicer.qMRMLWidget()
        parent.setLayout(qt.QVBoxLayout())
        parent.setMRMLScene(slicer.mrmlScene)
        self.services = Doubles(real_process=True, folder=folder / "export")
        self.dialogs = self.services.dialogs
        self.dialogs.ask = self._answer
        self.dialogs.choose_folder = self._folder
        self.widget = PartialOrganSegWidget(parent, self.services)
        self.widget.setup()
        parent.resize(400, 900)
        parent.show()
        self.panel = self.widget.panel
        settings = self.panel.logic.getParameterNode()
        settings.finetune.folder = str(folder / "runs")
        self.panel.enter()
        if (folder / SCENE).is_file():
            slicer.util.loadScene(str(folder / SCENE))
            self.volume = self.panel.parameters.inputVolume
        else:
            self.volume = slicer.util.loadVolume(str(ct))

    def _answer(self, title: str, text: str, choices: list[tuple[str, str]]) -> str:
        """The first button of every question."""
        print(f"    asked: {text.splitlines()[0][:100]} -> {choices[0][1]}", flush=True)
        return choices[0][0]

    def _folder(self, title: str) -> Path:
        if "DICOM" in title:
            return self.folder / "series"
        return self.folder / "export"

    # --- acts

    def of(self, name: str):
        """The widgets of a section."""
        return self.panel.section(name).ui

    def does(self, act: str, do: Callable[[], None], busy: Callable[[], bool]) -> float:
        """Does something, and lets the window work while it is `busy`; notes the seconds."""
        start = time.monotonic()
        do()
        while busy():
            self.slicer.app.processEvents()
            time.sleep(0.002)
            if time.monotonic() - start > LONGEST_S:
                raise TimeoutError(act)
        seconds = time.monotonic() - start
        self.note(act, round(seconds, 1))
        return seconds

    def note(self, what: str, value: object) -> None:
        """A figure or a line."""
        self.figures[what] = value
        print(f"{what:<46} {value}", flush=True)

    @property
    def node(self):
        """The segmentation at hand."""
        return self.panel.parameters.segmentation

    def mask(self, organ: str) -> np.ndarray:
        """Of an organ as the scene has it, on the CT's voxels (z, y, x)."""
        from panel_helpers.scenes import label_array

        return label_array(self.node, self.volume, organ)

    def dice(self) -> float:
        """Of the organ with the labels."""
        return round(dice(self.mask(self.organ), self.truth.array == self.value), 3)

    def look(self, name: str) -> None:
        """Pictures of the panel's open sections and of the slices through the organ."""
        from panel_helpers.pictures import fit, picture_of, slice_picture

        window = self.panel.section("Segment").widget.window()
        fit(window, 400)
        picture_of(window, self.folder / f"{name}_panel.png")
        centre = self.where or self.node.GetSegmentCenterRAS(self.organ)
        for orientation in ("Axial", "Coronal"):
            slice_picture(self.volume, self.folder / f"{name}_{orientation.lower()}.png", orientation, centre)

    def segment(self, act: str = "segment") -> None:
        ui = self.of("Segment")
        assert ui.segmentButton.enabled, ui.segmentButton.toolTip
        self.does(act, ui.segmentButton.click, lambda: self.panel.job is not None)
        self.note(f"{act}: said", self.panel.section("Segment").strip.text.text)
        review = self.panel.section("Review")
        self.does(f"{act}: looked at by Review", lambda: None, lambda: review.looking.active)

    # --- correcting

    def correct(self) -> None:
        from panel_helpers.scenes import ijk_to_ras

        section, ui = self.panel.section("Scribble"), self.of("Scribble")
        organs = [self.of("Review").organTable.item(place, 0).text()
                  for place in range(self.of("Review").organTable.rowCount)]
        title = self.organ.replace("_", " ")
        at = next(place for place, text in enumerate(organs) if text.lower() == title)
        self.of("Review").organTable.setCurrentCell(at, 0)
        self.does("correct with strokes: ready", self.of("Review").strokesButton.click,
                  lambda: not section._live.correction._child or not section._live.correction._child.ready)
        before = {organ: self.mask(organ) for organ in self.names()}
        self.note("Dice before the stroke", self.dice())
        k, wrong, is_missing = worst_slice(self.mask(self.organ), self.truth.array == self.value)
        what = self.organ if is_missing else "background"
        where = line_through(k, wrong, max(1, round(STROKE_MM / self.volume.GetSpacing()[1] / 2)))
        self.note("drawn", f"{what} on slice {k}, {where[2].stop - where[2].start} x "
                           f"{where[1].stop - where[1].start} voxels, {int(wrong.sum())} wrong on it")
        middle = ((where[2].start + where[2].stop) / 2, where[1].start, k, 1.0)
        self.where = tuple((ijk_to_ras(self.volume) @ middle)[:3])
        self.look("before")
        self.draw(what, where)
        self.note("said", section._live.correction.text)
        self.note("Dice after the stroke", self.dice())
        others = [organ for organ in before if organ != self.organ
                  and not np.array_equal(before[organ], self.mask(organ))]
        self.note("other organs that changed", ", ".join(others) or "none")
        self.look("corrected")
        self.does("undo", ui.undoStrokesButton.click, self._correcting)
        same = all(np.array_equal(before[organ], self.mask(organ)) for organ in before)
        self.note("undo brings all organs back", same)
        self.draw(what, where)
        self.note("Dice after the stroke, drawn again", self.dice())
        ui.correctButton.click()

    def names(self) -> list[str]:
        from PartialOrganSegPanel.scene.organ_rows import rows

        return [row.organ for row in rows(self.node)]

    def _correcting(self) -> bool:
        section = self.panel.section("Scribble")
        return bool(section._settle.active or section._live.correction.working)

    def draw(self, what: str, where) -> None:
        """As the segment editor's effect writes a stroke, and what follows until the answer is seen."""
        from panel_helpers.painting import paint

        section = self.panel.section("Scribble")
        if section.at_hand.name != what:
            section._choose(what)
        if section.editor.tool != "Paint":
            section.ui.paintStrokesButton.click()
        self.does("stroke to answer", lambda: paint(section, where), self._correcting)

    # --- accepting and exporting

    def accept(self) -> None:
        review, ui = self.panel.section("Review"), self.of("Review")
        self.does("accept all", ui.acceptAllButton.click, lambda: review.looking.active)
        self.note("said", ui.messageLabel.text)
        self.look("accepted")

    def export(self) -> None:
        from PartialOrganSegPanel.shell.parameters import ExportFormat

        section, ui = self.panel.section("Export"), self.of("Export")
        (self.folder / "export").mkdir(exist_ok=True)
        for kind in ExportFormat:
            self.panel.parameters.export.format = kind
            self.does(f"export {kind.value}", ui.exportButton.click, lambda: section._work is not None)
            self.note(f"export {kind.value}: said", section.strip.text.text.replace(str(self.folder), "FOLDER"))
        self.read_back()

    def read_back(self) -> None:
        """Holds the three files against the scene's segments, on the CT's voxels."""
        from PartialOrganSegPanel.scene.organ_rows import ACCEPTED, rows

        from PartialOrganSegLib.imaging.volume import Volume

        organs = [row.organ for row in rows(self.node) if row.state == ACCEPTED]
        scene = {organ: Volume(self.mask(organ), self.ct.grid).canonical().array > 0 for organ in organs}
        for what, value in differences(self.folder / "export", scene, self.ct.canonical().grid).items():
            self.note(what, value)

    # --- teaching and another computer

    def teach(self, minutes: float) -> None:
        section, ui = self.panel.section("FineTune"), self.of("FineTune")
        self.panel.parameters.finetune.minutes = minutes
        self.panel.parameters.finetune.name = TAUGHT
        seconds = self.does(f"teach, {minutes:g} minutes asked", self.of("Scribble").teachButton.click,
                            lambda: self.panel.job is not None)
        self.note("minutes used", round(seconds / 60, 2))
        self.note("verdict", ui.runLabel.text)
        self.note("said", section.strip.text.text.replace(str(self.folder), "FOLDER"))
        self.look("taught")
        self.does("use the model", ui.useButton.click, lambda: self.panel.job is not None)
        self.note("model in Segment", self.panel.parameters.segment.model)

    def serve(self) -> None:
        """Segments again on a server with the taught model, and with a wrong token."""
        token = self.folder / "token"
        from PartialOrganSegPanel.shell.model_cards import installed_models

        model = self.panel.parameters.segment.model
        if TAUGHT in installed_models():
            model = TAUGHT
        self.note("the server's model", model)
        process = subprocess.Popen(
            [sys.executable, "-m", "PartialOrganSegLib", "serve", "--model", model,
             "--port", "0", "--token-file", str(token)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            address = OTHER_SERVER_LINE.search(process.stdout.readline()).group(1)
            settings = self.panel.parameters.segment
            wrong = self.folder / "wrong token"
            wrong.write_text("0" * 43 + "\n", encoding="utf-8")
            os.chmod(wrong, 0o600)
            settings.server, settings.tokenFile = address, str(wrong)
            self.segment("a wrong token")
            settings.tokenFile = str(token)
            self.segment("segment on the server")
            self.look("served")
            self.note("Dice of the server's result", self.dice())
        finally:
            process.terminate()
            process.wait(20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("ct", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--organ", default="left_kidney")
    parser.add_argument("--minutes", type=float, default=2.0, help="to teach")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    arguments = parser.parse_args()
    folder = arguments.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["PARTIALORGANSEG_MODELS"] = str(folder / "models")

    import conftest  # noqa: F401  makes the host, or finds the real Slicer
    from panel_helpers.scene_series import write_scene_series

    if "correct" in arguments.parts:
        (folder / SCENE).unlink(missing_ok=True)
    reader = Reader(arguments.ct, arguments.labels, folder, arguments.organ)
    if "correct" in arguments.parts:
        reader.segment()
        reader.correct()
        reader.accept()
        write_scene_series(reader.volume, folder / "series")
        reader.export()
        reader.slicer.util.saveScene(str(folder / SCENE))
    if "teach" in arguments.parts:
        reader.teach(arguments.minutes)
    if "serve" in arguments.parts:
        reader.serve()
    reader.widget.cleanup()
    name = "_".join(arguments.parts)
    (folder / f"{name}.json").write_text(json.dumps(reader.figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
