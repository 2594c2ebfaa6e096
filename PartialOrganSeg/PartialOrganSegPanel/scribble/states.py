"""What strokes mean for the segmentation of their CT: which organs are scribbled, and which one to draw next."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import slicer

from ..scene.organ_rows import ABSENT, ACCEPTED, EDITED, PREDICTED, SCRIBBLED, rows, set_state
from ..scene.review_record import read_record
from ..scene.segmentation_result import find_result


def result_of(volume: slicer.vtkMRMLScalarVolumeNode | None,
              chosen: slicer.vtkMRMLSegmentationNode | None) -> slicer.vtkMRMLSegmentationNode | None:
    """The segmentation that the strokes on a CT belong to: the `chosen` one if it is of this CT, or the latest."""
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
            record = read_record(result.GetSegmentation().GetSegment(row.segment_id))
            state = EDITED if record and (record.added or record.removed) else PREDICTED
        else:
            continue
        set_state(result, row.segment_id, state)
        changed = True
    return changed


def next_to_draw(names: Sequence[str], current: str, drawn: Collection[str],
                 result: slicer.vtkMRMLSegmentationNode | None) -> str | None:
    """The one of `names` after `current`, in a circle, that has no stroke and needs one; None when there is none."""
    labelled = {row.organ for row in rows(result) if row.state in (ACCEPTED, ABSENT)} if result else set()
    at = names.index(current) + 1 if current in names else 0
    following = [*names[at:], *names[:at]]
    return next((name for name in following if name not in drawn and name not in labelled), None)
