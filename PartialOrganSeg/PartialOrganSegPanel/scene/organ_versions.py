"""What a user changes in a segmentation while a run works that will replace its organs."""

from __future__ import annotations

from dataclasses import dataclass

import slicer

from .organ_rows import rows
from .voxel_counts import EMPTY, Count, labelmap, layer_counts


@dataclass(frozen=True)
class OrganVersion:
    """An organ as it is at a moment: its state, and the count of its voxels, which changes with every edit."""

    state: str
    count: Count


def organ_versions(node: slicer.vtkMRMLSegmentationNode) -> dict[str, OrganVersion]:
    """Of all organs of a segmentation, by their names."""
    versions = {}
    layers: dict[slicer.vtkOrientedImageData, dict[int, Count]] = {}
    for row in rows(node):
        segment = node.GetSegmentation().GetSegment(row.segment_id)
        image = labelmap(segment)
        count = EMPTY
        if image is not None:
            # organs share layers: each is counted once
            if image not in layers:
                layers[image] = layer_counts(image)
            count = layers[image].get(segment.GetLabelValue(), EMPTY)
        versions[row.organ] = OrganVersion(row.state, count)
    return versions


def changed_since(node: slicer.vtkMRMLSegmentationNode, before: dict[str, OrganVersion]) -> list[str]:
    """Organs that were there before and have been edited, accepted or otherwise decided since."""
    current = organ_versions(node)
    return [organ for organ, version in current.items() if organ in before and before[organ] != version]
