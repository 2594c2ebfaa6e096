"""One CT, segmented by the start model and by the new one: two runs of the command, the overlays, the figures."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from ..scene.organ_rows import ACCEPTED, rows
from ..scene.scene_cases import labels_of
from ..scene.segment_run import SegmentRun
from ..scene.segmentation_result import ResultError, read_result
from ..shell.model_cards import UNREADABLE, ModelCard, read_card
from .dice import SegmentDice
from .overlays import AFTER, BEFORE, add_overlay, bring_to_front, remove_overlays


class Comparison:
    """Make it with `prepare` and the models' folders; run the arguments of `runs[BEFORE]` and `runs[AFTER]`, then
    `show`. `organs`: those to be shown, which were learnt. Nodes are held by ID."""

    def __init__(self, runs: Mapping[str, SegmentRun], organs: Sequence[str]) -> None:
        self.runs, self.organs = dict(runs), tuple(organs)

    @classmethod
    def prepare(cls, volume: slicer.vtkMRMLScalarVolumeNode, models: Mapping[str, Path], device: str,
                organs: Sequence[str]) -> Generator[None, None, Comparison]:
        """Writes the CT, in pieces of some milliseconds. Raises OSError when that fails, and ResultError for a model
        without sound metadata."""
        cards = {moment: _card(models[moment]) for moment in (BEFORE, AFTER)}
        first = yield from SegmentRun.prepare_steps(volume, str(models[BEFORE]), device, cards[BEFORE].organs)
        # the second run reads the CT that the first one has written, and writes beside it
        arguments = list(first.arguments)
        arguments[arguments.index("--model") + 1] = str(models[AFTER])
        arguments[arguments.index("-o") + 1] = str(first.folder / AFTER)
        second = replace(first, model=str(models[AFTER]), organs=cards[AFTER].organs, arguments=arguments, result={})
        return cls({BEFORE: first, AFTER: second}, organs)

    @property
    def volume(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """None when it was deleted."""
        return slicer.mrmlScene.GetNodeByID(self.runs[BEFORE].volume_id)

    def show(self, chosen: slicer.vtkMRMLSegmentationNode | None) -> Generator[None, None, str]:
        """Replaces the overlays of the scene, in pieces; gives what a user reads. Raises ResultError, with the scene as
        it was.

        `chosen`: of several segmentations of the CT, the one whose accepted organs count.
        """
        volume = self.volume
        if volume is None:
            raise ResultError(_("The CT was deleted; its result was dropped."))
        # both are read before anything is shown: an error leaves the scene as it was
        segmentations = {}
        for moment, run in self.runs.items():
            reports = {report["organ"]: report for report in run.result.get("organs", ())}
            if not reports:
                raise ResultError(_("The run gave no result."))
            path = Path(run.result["files"]["segmentation"])
            segmentations[moment] = yield from read_result(path, volume, run.ct_now(volume), run.organs, reports)
        if self.volume is not volume:
            raise ResultError(_("The CT was deleted; its result was dropped."))
        remove_overlays()
        for moment, segmentation in segmentations.items():
            add_overlay(moment, volume, self.runs[moment].ct_now(volume), segmentation, self.organs)
        bring_to_front(volume, self.organs)
        lines = [_("{ct}: before in thin white lines, after in thick coloured ones.").format(ct=volume.GetName())]
        # a CT that was resampled to be written has other voxels than what the user accepted
        labels = None
        if self.runs[BEFORE].ct.follows_volume:
            labels = labels_of(volume, chosen)
        counts = SegmentDice()
        for organ in self.organs:
            lines.append((yield from self._figures(organ, segmentations, _accepted(labels, organ), counts)))
        return "\n".join(lines)

    def _figures(self, organ: str, segmentations: Mapping[str, slicer.vtkSegmentation], label: slicer.vtkSegment | None,
                 counts: SegmentDice) -> Generator[None, None, str]:
        """`spleen: 182 ml, then 214 ml; Dice with the accepted one 0.812, then 0.901` of what is known."""
        text = _("{organ}: {before}, then {after}").format(
            organ=organ.replace("_", " "), before=_volume_text(self.runs[BEFORE], organ),
            after=_volume_text(self.runs[AFTER], organ))
        before, after = segmentations[BEFORE].GetSegment(organ), segmentations[AFTER].GetSegment(organ)
        if label and before and after:
            values = (yield from counts.dice_steps(label, before)), (yield from counts.dice_steps(label, after))
            return text + _("; Dice with the accepted one {before}, then {after}").format(
                before=_dice_text(values[0]), after=_dice_text(values[1]))
        if before and after:
            value = yield from counts.dice_steps(before, after)
            return text + _("; Dice of the two {dice}").format(dice=_dice_text(value))
        return text

    def clean_up(self) -> None:
        """Removes the scratch folder."""
        self.runs[BEFORE].clean_up()


def _card(folder: Path) -> ModelCard:
    try:
        return read_card(folder.name, folder)
    except UNREADABLE as error:
        raise ResultError(_("{folder}: the model cannot be read.").format(folder=folder)) from error


def _accepted(labels: slicer.vtkMRMLSegmentationNode | None, organ: str) -> slicer.vtkSegment | None:
    """What the user accepted of an organ."""
    if labels is None:
        return None
    accepted = [row.segment_id for row in rows(labels) if row.organ == organ and row.state == ACCEPTED]
    if not accepted:
        return None
    return labels.GetSegmentation().GetSegment(accepted[0])


def _volume_text(run: SegmentRun, organ: str) -> str:
    """`182.0 ml`, or that the run's model has no such organ."""
    for report in run.result["organs"]:
        if report["organ"] == organ and report["volume_ml"] is not None:
            return f"{report['volume_ml']:.1f} ml"
    return _("unknown to it")


def _dice_text(value: float | None) -> str:
    if value is None:
        return _("undefined")
    return f"{value:.3f}"
