"""What the review of an organ took and changed, kept in a tag of its segment: saved in .mrb and .seg.nrrd.

Times are also kept in an attribute of the segmentation node: undo does not touch it, and writing it does not end redo,
so that it can be brought up to date every few seconds. Saving announces itself too late for that.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from urllib.parse import quote, unquote

import slicer

from .organ_rows import tag

_REVIEW = "PartialOrganSeg.Review"
_TIMES = "PartialOrganSeg.Times"


@dataclass(frozen=True)
class ReviewRecord:
    """Of one organ. `voxels` and `place` (see `voxel_counts.Count`) are those of the last look, by which a change is
    noticed. `predicted`, `added`, `removed`: voxels of the prediction and of what was changed since; None when the
    prediction was not kept. `seconds`: active editing time."""

    voxels: int
    place: float
    predicted: int | None = None
    added: int | None = None
    removed: int | None = None
    seconds: float = 0.0

    @property
    def dice(self) -> float | None:
        """Dice of the prediction and the segment as it is; None when unknown, or when both are empty."""
        if self.predicted is None or self.added is None or self.removed is None or not self.predicted + self.voxels:
            return None
        # |A and B| = predicted - removed, |A| + |B| = predicted + voxels
        return 2 * (self.predicted - self.removed) / (self.predicted + self.voxels)


def read_record(segment: slicer.vtkSegment) -> ReviewRecord | None:
    """The segment's record, None before its first look."""
    text = tag(segment, _REVIEW)
    if not text:
        return None
    return ReviewRecord(**json.loads(unquote(text)))


def write_record(segment: slicer.vtkSegment, record: ReviewRecord) -> None:
    """Writes the record, and leaves the segment alone when it says so already: a change of a tag ends redo."""
    text = quote(json.dumps(asdict(record)))
    if text != tag(segment, _REVIEW):
        segment.SetTag(_REVIEW, text)


def read_times(segmentation: slicer.vtkMRMLSegmentationNode) -> dict[str, float]:
    """Seconds by segment ID, as the node remembers them."""
    return json.loads(unquote(segmentation.GetAttribute(_TIMES) or "{}"))


def write_times(segmentation: slicer.vtkMRMLSegmentationNode, seconds: dict[str, float]) -> None:
    """Replaces what the node remembers."""
    segmentation.SetAttribute(_TIMES, quote(json.dumps(seconds)))
