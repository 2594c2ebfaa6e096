"""What strokes mean for the segmentation of their CT: which organs are scribbled, and which one to draw next."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import slicer

from ..scene.organ_rows import EDITED, PREDICTED, SCRIBBLED, accepted_organs, rows, set_state
from ..scene.review_record import read_record
from ..scene.segmentation_result import find_result


def result_of(volume: slicer.vtkMRMLScalarVolumeNode | None,
              chosen: slicer.vtkMRMLSegmentationNode | None) -> slicer.vtkMRMLSegmentationNode | None:
    """The segmentation that the strokes on a CT belong to: the `chosen` one if it is of this CT, or the latest."""
    # the segmentation of the panel may be of another CT than the one that is drawn on
    if volume is None:
        return None
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    if chosen is not None and chosen.GetNodeReferenceID(role) == volume.GetID() and rows(chosen):
        return chosen
    return find_result(volume)


def mark_scribbled(result: slicer.vtkMRMLSegmentationNode, drawn: Collection[str],
                   erased: Collection[str] = ()) -> bool:
    """Organs that are drawn become scribbled; those whose strokes were erased become what they were. Whether any did.

    An accepted or absent organ stays so: all its voxels are a label, which says more than a stroke.
    """
    changed = False
    for row in rows(result):
        if row.organ in drawn and row.state in (PREDICTED, EDITED):
            state = SCRIBBLED
        elif row.organ in erased and row.state == SCRIBBLED:
            state = _state_before(result.GetSegmentation().GetSegment(row.segment_id))
        else:
            continue
        set_state(result, row.segment_id, state)
        changed = True
    return changed


def _state_before(segment: slicer.vtkSegment) -> str:
    """Of an organ whose strokes are gone: edited if the review has counted changed voxels, else predicted."""
    record = read_record(segment)
    if record is not None and (record.added or record.removed):
        return EDITED
    return PREDICTED


def next_to_draw(names: Sequence[str], current: str, drawn: Collection[str],
                 result: slicer.vtkMRMLSegmentationNode | None) -> str | None:
    """The one of `names` after `current`, in a circle, that has no stroke and needs one; None when there is none."""
    labelled: list[str] = []
    if result is not None:
        labelled = accepted_organs(result)
    at = 0
    if current in names:
        at = names.index(current) + 1
    # an organ that is a label already needs no stroke
    following = [*names[at:], *names[:at]]
    return next((name for name in following if name not in drawn and name not in labelled), None)
