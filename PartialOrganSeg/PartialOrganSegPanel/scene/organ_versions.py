"""What a user changes in a segmentation while a run works that will replace its organs."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import slicer

from .layer_scan import EMPTY, Count, scan_layer
from .organ_rows import rows
from .voxel_counts import labelmap


@dataclass(frozen=True)
class OrganVersion:
    """An organ as it is at a moment: its state, and the count of its voxels, which changes with every edit."""

    state: str
    count: Count


def organ_versions(node: slicer.vtkMRMLSegmentationNode) -> Generator[None, None, dict[str, OrganVersion]]:
    """Of all organs of a segmentation, by their names; a piece takes milliseconds."""
    versions = {}
    layers: dict[slicer.vtkOrientedImageData, dict[int, Count]] = {}
    for row in rows(node):
        segment = node.GetSegmentation().GetSegment(row.segment_id)
        image = labelmap(segment)
        count = EMPTY
        if image is not None:
            # organs share layers: each is counted once
            if image not in layers:
                layers[image] = (yield from scan_layer(image)).counts
            count = layers[image].get(segment.GetLabelValue(), EMPTY)
        versions[row.organ] = OrganVersion(row.state, count)
    return versions


def changed_since(node: slicer.vtkMRMLSegmentationNode,
                  before: dict[str, OrganVersion]) -> Generator[None, None, list[str]]:
    """Organs that were there before and have been edited, accepted or otherwise decided since."""
    latest = None
    while latest != moment(node):  # an edit between two pieces: look again
        latest = moment(node)
        current = yield from organ_versions(node)
    return [organ for organ, version in current.items() if organ in before and before[organ] != version]


def moment(node: slicer.vtkMRMLSegmentationNode) -> tuple[object, ...]:
    """Changes with every edit of a segment, and with every decision on an organ."""
    states = {row.segment_id: row.state for row in rows(node)}
    facts: list[object] = []
    for segment_id in node.GetSegmentation().GetSegmentIDs():
        image = labelmap(node.GetSegmentation().GetSegment(segment_id))
        time = 0
        if image is not None:
            time = image.GetMTime()
        facts += [segment_id, states.get(segment_id), time]
    return tuple(facts)
