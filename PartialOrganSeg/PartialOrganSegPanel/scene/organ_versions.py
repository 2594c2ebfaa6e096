"""What a user has changed in a segmentation: while a run works that will replace its organs, or without the review."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import slicer

from .layer_scan import EMPTY, Count, scan_layer
from .organ_rows import DECIDED, EDITED, OrganRow, rows, set_state
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
    return [row.organ for row in rows(node) if not _is_recorded(node, row, counts)]


def note_edits(node: slicer.vtkMRMLSegmentationNode) -> Generator[None, None, None]:
    """Organs that were decided and drawn in since, while the review looked at another segmentation, are edited, as it
    marks them when it looks: nobody has accepted what they are now. A piece takes milliseconds."""
    counts = yield from _counts(node)
    for row in rows(node):
        seen = read_record(node.GetSegmentation().GetSegment(row.segment_id)) is not None
        if row.state in DECIDED and seen and not _is_recorded(node, row, counts):
            set_state(node, row.segment_id, EDITED)


def _is_recorded(node: slicer.vtkMRMLSegmentationNode, row: OrganRow, counts: dict[str, Count]) -> bool:
    """Whether the review has seen an organ as it is."""
    count, record = counts.get(row.segment_id), read_record(node.GetSegmentation().GetSegment(row.segment_id))
    return count is not None and record is not None and (record.voxels, record.place) == (count.voxels, count.place)


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
