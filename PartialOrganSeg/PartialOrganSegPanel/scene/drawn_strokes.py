"""What strokes are drawn of, counted anew only where they changed: looking at every change of the panel is cheap."""

from __future__ import annotations

import slicer

from .stroke_counts import count_strokes
from .strokes import find_all_strokes, stroke_segments
from .voxel_counts import labelmap


class DrawnStrokes:
    """Remembers what it counted."""

    def __init__(self) -> None:
        self._drawn: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {}

    def of(self, strokes: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode) -> tuple[str, ...]:
        """Organs, or the background, that have a stroke."""
        segments = strokes.GetSegmentation()
        segment_ids = stroke_segments(strokes).values()
        state = tuple(_time_of_change(segments.GetSegment(segment_id)) for segment_id in segment_ids)
        if self._drawn.get(strokes.GetID(), ((), ()))[0] != state:
            self._drawn[strokes.GetID()] = state, tuple(count_strokes(strokes, volume).drawn)
        return self._drawn[strokes.GetID()][1]

    def uncounted(self, volume: slicer.vtkMRMLScalarVolumeNode) -> tuple[slicer.vtkMRMLSegmentationNode, ...]:
        """The nodes of strokes on a CT in which something is drawn and which are not the latest."""
        return tuple(node for node in find_all_strokes(volume)[:-1] if self.of(node, volume))


def _time_of_change(segment: slicer.vtkSegment) -> int:
    """Of a segment's voxels; 0 while it has none."""
    image = labelmap(segment)
    if image is None:
        return 0
    return image.GetMTime()
