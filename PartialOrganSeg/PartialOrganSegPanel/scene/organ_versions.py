"""What a user has changed in a segmentation: while a run works that will replace its organs, or without the review."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import slicer

from .layer_scan import EMPTY, Count, scan_layer
from .organ_rows import rows
from .review_record import read_record
from .voxel_counts import labelmap


@dataclass(frozen=True)
class OrganVersion:
    """An organ as it is at a moment: its state, and the count of its voxels, which changes with every edit."""

    state: str
    count: Count


Versions = dict[str, list[OrganVersion]]  # of each organ's segments, of which there may be two


def organ_versions(node: slicer.vtkMRMLSegmentationNode) -> Generator[None, None, Versions]:
    """Of all organs of a segmentation, by their names; a piece takes milliseconds."""
    counts = yield from _counts(node)
    versions: Versions = {}
    for row in rows(node):
        if row.segment_id in counts:
            versions.setdefault(row.organ, []).append(OrganVersion(row.state, counts[row.segment_id]))
    return versions


def _counts(node: slicer.vtkMRMLSegmentationNode) -> Generator[None, None, dict[str, Count]]:
    """Of all organs of a segmentation, by segment ID."""
    counts = {}
    layers: dict[slicer.vtkOrientedImageData, dict[int, Count]] = {}
    for row in rows(node):
        segment = node.GetSegmentation().GetSegment(row.segment_id)
        if segment is None:  # removed since the piece before
            continue
        image, counts[row.segment_id] = labelmap(segment), EMPTY
        if image is not None:
            # organs share layers: each is counted once
            if image not in layers:
                layers[image] = (yield from scan_layer(image)).counts
            counts[row.segment_id] = layers[image].get(segment.GetLabelValue(), EMPTY)
    return counts


def not_recorded(node: slicer.vtkMRMLSegmentationNode) -> Generator[None, None, list[str]]:
    """Organs that are not as the review last saw them, or that it never saw: their state does not say whether somebody
    corrected them, as it does not where another segmentation was at hand meanwhile. A piece takes milliseconds."""
    counts = yield from _counts(node)
    organs = []
    for row in rows(node):
        segment = node.GetSegmentation().GetSegment(row.segment_id)
        count, record = counts.get(row.segment_id), read_record(segment)
        if count is None or record is None or (record.voxels, record.place) != (count.voxels, count.place):
            organs.append(row.organ)
    return organs


def changed_since(node: slicer.vtkMRMLSegmentationNode, before: Versions) -> Generator[None, None, list[str]]:
    """Organs that were there before and have been edited, accepted or otherwise decided since."""
    latest = None
    while latest != moment(node):  # an edit between two pieces: look again
        latest = moment(node)
        current = yield from organ_versions(node)
    return [organ for organ, versions in current.items() if organ in before and before[organ] != versions]


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
