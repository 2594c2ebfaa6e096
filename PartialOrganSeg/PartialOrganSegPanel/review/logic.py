"""The review of one segmentation: notices edits, changes states, records time and changed voxels. No widgets."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace

import numpy as np
import slicer
import vtk

from ..scene.layer_scan import EMPTY, Count, LayerScan, count_in, scan_layer
from ..scene.organ_rows import ABSENT, ACCEPTED, DECIDED, EDITED, PREDICTED, OrganRow, rows, set_state
from ..scene.review_record import ReviewRecord, read_record, read_times, write_record, write_times
from ..scene.voxel_counts import finished, have_same_voxels, is_small, labelmap, overlap, voxel_array
from .clock import ActiveTime
from .prediction import keep_prediction, predicted_segment, restore_prediction


class Review:
    """Of one segmentation, held by node ID. `save_undo` saves the segments' voxels and tags before each change here,
    so that undo brings back both. Call `look` after every edit, at once or a moment later."""

    def __init__(self, segmentation: slicer.vtkMRMLSegmentationNode, save_undo: Callable[[], None],
                 clock: ActiveTime | None = None) -> None:
        self._id = segmentation.GetID()
        self._save_undo = save_undo
        self.clock = clock or ActiveTime()
        self._layers: dict[int, LayerScan] = {}  # by the time of a layer's last change
        self._seconds = read_times(segmentation)

    @property
    def segmentation(self) -> slicer.vtkMRMLSegmentationNode | None:
        """None when it has left the scene."""
        return slicer.mrmlScene.GetNodeByID(self._id)

    def segment(self, segment_id: str) -> slicer.vtkSegment | None:
        """A segment by its ID, None when it was removed."""
        node = self.segmentation
        if node is None or not segment_id:
            return None
        return node.GetSegmentation().GetSegment(segment_id)

    def row(self, segment_id: str) -> OrganRow | None:
        """The organ of a segment, None when it is none of ours."""
        return next((row for row in self._rows() if row.segment_id == segment_id), None)

    def record(self, segment_id: str) -> ReviewRecord | None:
        """What was recorded of a segment, with the seconds that are not written yet."""
        segment = self.segment(segment_id)
        if segment is None:
            return None
        record = read_record(segment)
        if record is None:
            return None
        return replace(record, seconds=self._seconds_of(segment_id, record))

    # --- looking for edits

    def look(self) -> bool:
        """Records what changed since the last look; an organ that changed becomes edited. Whether anything did.

        The first look keeps the predictions. An organ whose voxels are again those of the prediction is predicted.
        """
        return finished(self.look_steps())

    def look_steps(self) -> Generator[None, None, bool]:
        """As `look`, in pieces of a few milliseconds. A piece that is dropped is made up for by the next look."""
        yield from self._scan()
        changed = False
        for row in self._rows():
            # The user may have removed the segment, or drawn in it, since the piece before: the next look counts that.
            if self.segment(row.segment_id) is not None and self._scan_of(row.segment_id) is not None:
                changed |= self._look_at(row)
                yield
        return changed

    def _rows(self) -> list[OrganRow]:
        node = self.segmentation
        if node is None:
            return []
        return rows(node)

    def _scan(self) -> Generator[None, None, None]:
        """Looks at the layers that were modified since the last look."""
        layers = {}
        for row in self._rows():
            segment = self.segment(row.segment_id)
            if segment is None or labelmap(segment) is None:
                continue
            image = labelmap(segment)
            modified = image.GetMTime()
            if modified not in layers:
                # most of its slices are as they were at the last look
                earlier = next((scan for scan in self._layers.values() if scan.extent == image.GetExtent()), None)
                layers[modified] = self._layers.get(modified) or (yield from scan_layer(image, earlier))
        self._layers = layers

    def _scan_of(self, segment_id: str) -> LayerScan | None:
        """The latest look at a segment's layer, an empty one without a layer, None when it has changed since."""
        image = labelmap(self.segment(segment_id))
        if image is None:
            return LayerScan()
        return self._layers.get(image.GetMTime())

    def _look_at(self, row: OrganRow) -> bool:
        node, segment = self.segmentation, self.segment(row.segment_id)
        scan, value = self._scan_of(row.segment_id), segment.GetLabelValue()
        count = scan.counts.get(value, EMPTY)
        before = read_record(segment)
        unchanged = before is not None and (before.voxels, before.place) == (count.voxels, count.place)
        if before is None:
            self._seconds.pop(row.segment_id, None)  # a new prediction under the ID of an earlier one
            write_times(node, self._seconds)
        fresh = row.state == PREDICTED and (before is None or (unchanged and before.added == before.removed == 0))
        if fresh and (before is None or predicted_segment(node, row.segment_id) is None):
            keep_prediction(node, row.segment_id, scan.boxes.get(value))
        if unchanged:
            return False
        record = self._compared(row.segment_id, count, before)
        if before is not None:
            set_state(node, row.segment_id, _state_of(record))
        write_record(segment, record)
        return True

    def _compared(self, segment_id: str, count: Count, before: ReviewRecord | None) -> ReviewRecord:
        """The record of a segment with this count, against its prediction if that was kept."""
        seconds = self._seconds_of(segment_id, before)
        predicted = predicted_segment(self.segmentation, segment_id)
        if predicted is None:
            predicted_voxels = None
            if before is not None:
                predicted_voxels = before.predicted
            return ReviewRecord(count.voxels, count.place, predicted_voxels, seconds=seconds)
        common = overlap(self.segment(segment_id), predicted)
        image = labelmap(predicted)
        size = 0
        if image is not None:
            size = int(np.count_nonzero(voxel_array(image) == predicted.GetLabelValue()))
        return ReviewRecord(count.voxels, count.place, size, count.voxels - common, size - common, seconds)

    # --- what the user decides

    def is_empty(self, segment_id: str) -> bool:
        """Whether the organ has no voxel, so that there is nothing to accept."""
        record = self.record(segment_id)
        return record is not None and record.voxels == 0

    def accept(self, segment_id: str) -> None:
        """The organ is a label as it is."""
        # an edit that is not counted yet would be counted later, and end the acceptance
        self.look()
        self._save_undo()
        set_state(self.segmentation, segment_id, ACCEPTED)
        self.write_times()

    def acceptable(self) -> list[str]:
        """Segments that are not decided yet and have a voxel."""
        undecided = [row.segment_id for row in self._rows() if row.state not in DECIDED]
        return [segment_id for segment_id in undecided if not self.is_empty(segment_id)]

    def accept_all(self) -> int:
        """All organs that are not decided yet are labels as they are; undone together. Those without a voxel are left:
        whether they are absent is for somebody to say. Returns how many were accepted."""
        self.look()
        segment_ids = self.acceptable()
        self._save_undo()
        for segment_id in segment_ids:
            set_state(self.segmentation, segment_id, ACCEPTED)
        self.write_times()
        return len(segment_ids)

    def absent(self, segment_id: str) -> None:
        """The organ is not in this CT: its segment is emptied."""
        self.look()
        # before the segment is emptied, so that undo brings voxels and state back together
        self._save_undo()
        slicer.vtkSlicerSegmentationsModuleLogic.ClearSegment(self.segmentation, segment_id)
        self._record_now(segment_id, EMPTY)
        set_state(self.segmentation, segment_id, ABSENT)
        self.write_times()

    def back_to_predicted(self, segment_id: str) -> Generator[None, None, dict[str, int]]:
        """Brings the prediction back, in pieces, but takes no voxel from another organ: gives these, per organ. The
        organ is predicted then, or edited where some were left out. Raises LookupError where the prediction was not
        kept."""
        self.look()
        if predicted_segment(self.segmentation, segment_id) is None:
            raise LookupError(segment_id)
        self._save_undo()
        yield
        self.look()  # for what was drawn between the two pieces, as nearly never
        box = self._scan_of(segment_id).boxes.get(self.segment(segment_id).GetLabelValue())
        held = restore_prediction(self.segmentation, segment_id, box)
        image = labelmap(predicted_segment(self.segmentation, segment_id))
        layer = labelmap(self.segment(segment_id))
        if image is None or layer is None:
            self._record_now(segment_id, EMPTY)
        elif not is_small(layer):
            pass  # the next look counts it, in pieces
        elif have_same_voxels(image, layer):
            self._record_now(segment_id, count_in(self.segment(segment_id), image.GetExtent()))
        else:  # the geometry was changed since: the box of the prediction says nothing of it
            self.look()
        state = PREDICTED
        if held:
            state = EDITED
        set_state(self.segmentation, segment_id, state)
        self.write_times()
        return held

    def _record_now(self, segment_id: str, count: Count) -> None:
        """Records a change that was made here, whose count is known without looking at the layer."""
        segment = self.segment(segment_id)
        write_record(segment, self._compared(segment_id, count, read_record(segment)))

    def centre_of(self, segment_id: str) -> tuple[float, float, float] | None:
        """The middle of an organ's box in the room (RAS mm), from the last look: Slicer's logic goes through the whole
        layer. None for an organ without a voxel, or that changed since."""
        segment = self.segment(segment_id)
        if segment is None:
            return None
        scan = self._scan_of(segment_id)
        if scan is None or segment.GetLabelValue() not in scan.boxes:
            return None
        i0, i1, j0, j1, k0, k1 = scan.boxes[segment.GetLabelValue()]
        matrix, transform = vtk.vtkMatrix4x4(), vtk.vtkGeneralTransform()
        labelmap(segment).GetImageToWorldMatrix(matrix)
        middle = matrix.MultiplyPoint(((i0 + i1) / 2, (j0 + j1) / 2, (k0 + k1) / 2, 1.0))[:3]
        parent = self.segmentation.GetParentTransformNode()
        slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(parent, None, transform)
        right, anterior, superior = transform.TransformPoint(middle)
        return right, anterior, superior

    def next_to_check(self, segment_id: str) -> str | None:
        """The organ after this one, in a circle, that is neither accepted nor absent; None when all are."""
        organs = rows(self.segmentation)
        at = next((index for index, row in enumerate(organs) if row.segment_id == segment_id), -1)
        following = organs[at + 1:] + organs[:at + 1]
        return next((row.segment_id for row in following if row.state not in DECIDED), None)

    # --- time

    def _seconds_of(self, segment_id: str, record: ReviewRecord | None) -> float:
        """Undo brings back old tags, but no time: the larger of what segment and node remember."""
        seconds = self._seconds.get(segment_id, 0.0)
        if record is None:
            return seconds
        return max(seconds, record.seconds)

    def save_times(self) -> None:
        """Keeps active times with the node; often, and cheap."""
        self.clock.sign()
        for segment_id, seconds in self.clock.take().items():
            segment = self.segment(segment_id)
            if segment is not None:
                total = self._seconds_of(segment_id, read_record(segment)) + seconds
                self._seconds[segment_id] = round(total, 1)
        write_times(self.segmentation, self._seconds)

    def write_times(self) -> None:
        """Keeps active times with node and segments. Ends redo, so call it where an edit or a pause does so anyway."""
        self.save_times()
        for segment_id in self._seconds:
            record = self.record(segment_id)
            if record is not None:
                write_record(self.segment(segment_id), record)


def _state_of(record: ReviewRecord) -> str:
    """Predicted while its voxels are those of the prediction. Where no prediction was kept a change is an edit."""
    if record.added == record.removed == 0:
        return PREDICTED
    return EDITED
