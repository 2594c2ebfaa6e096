"""Strokes correct the CT at hand as they are drawn: each goes to a process, whose answer changes the segmentation.

The labels around a stroke are sent with it, as they are at that moment, and an answer changes only voxels that are
still so: what is edited meanwhile, in whatever way, is never lost. Accepted organs keep all their voxels, unless it is
one of them that is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.organs import BACKGROUND

from ..scene.ct_tag import refuse_another_ct
from ..scene.label_box import Box, change_box, read_box, slices_of
from ..scene.organ_rows import DECIDED, EDITED, rows, set_state
from ..scene.stroke_voxels import NOT_DRAWN, StrokeVoxels, stroke_voxels
from ..scene.strokes import stroke_organs
from ..shell.problem_text import problem_of, problem_text
from ..shell.services import Process
from .at_hand import AtHand
from .correction_child import CorrectionChild
from .correction_text import change_text

MARGIN_MM = 60.0  # as PartialOrganSegLib.refining.neighbourhood.MARGIN_MM, which cannot be imported without scipy
MOST_UNDONE = 10  # as many states as Slicer's segment editor keeps of strokes


@dataclass(frozen=True)
class _Correction:
    """One that was asked for, and from its answer on `after`, the labels that it left in `box`; before that as
    `before`. `new`: its strokes."""

    number: int
    segmentation_id: str
    new: StrokeVoxels
    box: Box
    before: np.ndarray
    after: np.ndarray
    dropped: bool = False  # its answer is not wanted any more, and may be on its way


class LiveCorrection:
    """`about_to_edit(segmentation)` is called before voxels change, `changed()` when `text` or `working` did."""

    def __init__(self, at_hand: AtHand, new_process: Callable[[], Process],
                 about_to_edit: Callable[[slicer.vtkMRMLSegmentationNode], None], changed: Callable[[], None]) -> None:
        self._at_hand, self._new_process = at_hand, new_process
        self._about_to_edit, self._changed = about_to_edit, changed
        self._child: CorrectionChild | None = None
        self._volume_id = ""
        self._names: list[str] = []  # of the label values 1, 2, ...
        self._pending: _Correction | None = None
        self._applied: list[_Correction] = []
        self._drawn = self._uncorrected = StrokeVoxels.none((1, 1, 1))
        self.text = ""

    @property
    def on(self) -> bool:
        """Whether strokes correct."""
        return self._child is not None

    @property
    def working(self) -> bool:
        """Whether an answer is waited for."""
        return self._pending is not None

    def why_not(self) -> str:
        """Why strokes cannot correct the CT at hand; empty when they can."""
        if self._at_hand.volume is None:
            return _("Choose a CT first.")
        if self._at_hand.volume.GetImageData() is None:
            return _("The chosen volume has no voxels, or only one slice.")
        if self._at_hand.result is None:
            return _("Segment the CT first: strokes correct what was predicted.")
        return ""

    # --- on and off

    def start(self) -> None:
        """From now on new strokes correct; those that are drawn already do not."""
        volume, result, strokes = self._at_hand.volume, self._at_hand.result, self._at_hand.make_strokes()
        try:
            refuse_another_ct(result, volume)
            refuse_another_ct(strokes, volume)
            # what strokes can be drawn of, and what else was predicted
            self._names = list(dict.fromkeys([*stroke_organs(strokes), *(row.organ for row in rows(result))]))
            child = CorrectionChild(self._new_process, self._ready, self._answered, self._ended)
            child.start(volume, self._names)
        except (OSError, UserError) as error:
            self._say(str(error))
            return
        self._at_hand.result_to_change()
        self._child, self._volume_id = child, volume.GetID()
        self._pending, self._applied = None, []
        self._drawn = self._drawn_now()
        self._uncorrected = StrokeVoxels.none(self._drawn.shape)
        self._say(_("Preparing the CT; you can draw already."))

    def stop(self, text: str = "") -> None:
        """Strokes do not correct any more. What was corrected stays."""
        if not self.on and not text:
            return
        child, self._child, self._pending, self._volume_id = self._child, None, None, ""
        if child is not None:
            child.stop()
        self._applied = []
        self._say(text)

    def check(self) -> None:
        """Ends where the panel has gone on to another CT: its strokes must never reach this one."""
        volume = self._at_hand.volume
        if self.on and (volume is None or volume.GetID() != self._volume_id or self._at_hand.result is None):
            self.stop()

    def cancel(self) -> None:
        """Ends the work on the strokes drawn last; they stay drawn."""
        if self._pending is not None:
            self._child.cancel(self._pending.number)
            self._pending = replace(self._pending, dropped=True)

    # --- strokes

    def look(self, undone: bool = False) -> None:
        """Something was drawn or erased, or the user has `undone` the last stroke, which takes its correction back."""
        self.check()
        if not self.on:
            return
        before, self._drawn = self._drawn, self._drawn_now()
        new, erased = self._drawn.without(before), before.without(self._drawn)
        if undone:
            # what lay under the stroke is no new stroke; a correction may be of several strokes, of which one is gone
            new = self._take_back(erased)
        self._uncorrected = self._joined(self._uncorrected.without(erased), new)
        self._ask()

    def _drawn_now(self) -> StrokeVoxels:
        strokes, volume = self._at_hand.strokes, self._at_hand.volume
        drawn = None
        if strokes is not None:
            drawn = stroke_voxels(strokes, volume, self._values() | {BACKGROUND: 0})
        if drawn is None:
            return StrokeVoxels.none(volume.GetImageData().GetDimensions()[::-1])
        return drawn

    def _values(self) -> dict[str, int]:
        return {name: value for value, name in enumerate(self._names, 1)}

    def _segments(self, result: slicer.vtkMRMLSegmentationNode) -> dict[str, int]:
        """Segment ID to label value, of the organs that are known here."""
        values = self._values()
        return {row.segment_id: values[row.organ] for row in rows(result) if row.organ in values}

    @staticmethod
    def _joined(first: StrokeVoxels, second: StrokeVoxels) -> StrokeVoxels:
        """Both; where both are drawn the second counts."""
        of_first = first.only(~np.isin(first.at, second.at))
        return StrokeVoxels(np.concatenate([of_first.at, second.at]), np.concatenate([of_first.values, second.values]),
                            second.shape)

    # --- asking

    def _ready(self) -> None:
        self._say(_("Ready: draw where the segmentation is wrong, in any plane."))
        self._ask()

    def _ask(self) -> None:
        """Sends what is drawn and not corrected yet, unless an answer is waited for."""
        if not self._child.ready or self._pending is not None or not len(self._uncorrected):
            return
        volume, result = self._at_hand.volume, self._at_hand.result
        strokes, self._uncorrected = self._uncorrected, StrokeVoxels.none(self._uncorrected.shape)
        i_mm, j_mm, k_mm = volume.GetSpacing()
        box = strokes.box((math.ceil(MARGIN_MM / k_mm), math.ceil(MARGIN_MM / j_mm), math.ceil(MARGIN_MM / i_mm)))
        try:
            labels = read_box(result, self._segments(result), volume, box)
        except UserError as error:
            self._say(str(error))
            return
        accepted = self._not_drawn((row.organ for row in rows(result) if row.state in DECIDED), strokes)
        new = strokes.map_of(box)
        on_accepted = (new != NOT_DRAWN) & np.isin(labels, list(accepted.values()))
        new[on_accepted] = NOT_DRAWN
        if (new == NOT_DRAWN).all():
            self._say(_("Accepted organs stay as they are. To correct one, choose it and draw."))
            return
        try:
            number = self._child.ask(box, labels, self._drawn.map_of(box), new, list(accepted))
        except OSError as error:
            self._say(str(error))
            return
        self._pending = _Correction(number, result.GetID(), strokes, box, labels, labels)
        self._say(_("Correcting ..."))

    # --- answers

    def _answered(self, event: dict[str, Any]) -> None:
        pending = self._pending
        if pending is None or event.get("id") != pending.number:
            return
        self._pending = None
        if pending.dropped or event.get("cancelled"):
            self._say(_("Cancelled: the stroke changes nothing."))
        elif "problem" in event:
            self._say(problem_text(problem_of(event["problem"])))
        elif event["box"] is None:
            self._say(_("Nothing to correct: the segmentation says the same as the stroke."))
        else:
            self._apply(pending, event)
        if self._child is not None:
            self._child.forget(pending.number)
            self._ask()

    def _apply(self, pending: _Correction, event: dict[str, Any]) -> None:
        result = self._at_hand.result_to_change()
        if result is None or result.GetID() != pending.segmentation_id:
            self._say(_("The segmentation was replaced meanwhile: the correction was dropped."))
            return
        box: Box = tuple(event["box"])
        z, y, x = (slice(part.start - start, part.stop - start)
                   for part, start in zip(slices_of(box), pending.box[::2], strict=True))
        before = pending.before[z, y, x]
        accepted = [row.organ for row in rows(result) if row.state in DECIDED]
        # also those that were accepted since it was asked for
        kept = self._not_drawn(accepted, pending.new)
        try:
            answer = self._child.labels(event)
            held = np.isin(before, list(kept.values())) | np.isin(answer, list(kept.values()))
            after = np.where(held, before, answer)
            changed = self._change(result, box, before, after)
        except (OSError, ValueError, UserError) as error:
            self._say(str(error))
            return
        correction = replace(pending, box=box, before=before, after=np.where(changed, after, before))
        self._applied = [*self._applied, correction][-MOST_UNDONE:]
        unchanged = int(np.count_nonzero((answer != before) & ~changed))
        changes = [change for change in event["changes"] if change["organ"] not in kept]
        self._say(change_text(changes, event["seconds"], accepted, unchanged))

    def _not_drawn(self, organs: Iterable[str], strokes: StrokeVoxels) -> dict[str, int]:
        """Those of the organs, with their values, that none of the strokes is of."""
        values, drawn = self._values(), set(strokes.values.tolist())
        return {organ: values[organ] for organ in organs if organ in values and values[organ] not in drawn}

    def _take_back(self, erased: StrokeVoxels) -> StrokeVoxels:
        """Takes the last correction back if its stroke is among the `erased`; gives its strokes that are still there,
        which are to be obeyed anew."""
        pending = self._pending
        if pending is not None and len(pending.new.without(erased)) < len(pending.new):
            self.cancel()
            return pending.new.without(erased)
        if not self._applied or len(self._applied[-1].new.without(erased)) == len(self._applied[-1].new):
            return StrokeVoxels.none(erased.shape)
        last, result = self._applied.pop(), self._at_hand.result_to_change()
        if result.GetID() == last.segmentation_id:
            self._change(result, last.box, last.after, last.before)
            self._say(_("The last correction is taken back."))
        return last.new.without(erased)

    def _change(self, result: slicer.vtkMRMLSegmentationNode, box: Box, before: np.ndarray,
                after: np.ndarray) -> np.ndarray:
        """As `change_box`. Organs that it changed are edited from this moment on, before the review has counted them:
        what was accepted must not be exported or learnt from with other voxels."""
        self._about_to_edit(result)
        segments = self._segments(result)
        changed = change_box(result, segments, self._at_hand.volume, box, before, after)
        values = set(before[changed].tolist()) | set(after[changed].tolist())
        for segment_id, value in segments.items():
            if value in values:
                set_state(result, segment_id, EDITED)
        return changed

    def _ended(self, text: str) -> None:
        self.stop(text)

    def _say(self, text: str) -> None:
        self.text = text
        self._changed()
