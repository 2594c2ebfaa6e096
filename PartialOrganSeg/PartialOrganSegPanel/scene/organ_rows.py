"""What is known of each organ of a segmentation, kept in tags of its segments: they are saved in .mrb and .seg.nrrd."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

import slicer
import vtk
from slicer.i18n import tr as _

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.segmenting.check_kinds import OrganCheck

from ..shell.check_text import read_checks

PREDICTED, EDITED, SCRIBBLED, ACCEPTED, ABSENT = "predicted", "edited", "scribbled", "accepted", "absent"
STATES = (PREDICTED, EDITED, SCRIBBLED, ACCEPTED, ABSENT)
DECIDED = (ACCEPTED, ABSENT)  # by the user: the organ's voxels are a label

_ORGAN, _STATE, _REPORT = "PartialOrganSeg.Organ", "PartialOrganSeg.State", "PartialOrganSeg.Report"
# tags that the DICOM SEG export takes over: who made a segment
_ALGORITHM_TYPE, _ALGORITHM_NAME = "DICOM.SegmentAlgorithmType", "DICOM.SegmentAlgorithmName"
_BY = {PREDICTED: "AUTOMATIC", EDITED: "SEMIAUTOMATIC"}  # other states leave it as it is


@dataclass(frozen=True)
class OrganRow:
    """A segment that is an organ of ours. `checks`, `entropy` and `predicted_ml` are of the run that predicted it.

    `noted` is what a run of an older version noticed, which wrote no data but a text.
    """

    segment_id: str
    organ: str
    state: str
    checks: tuple[OrganCheck, ...] = ()
    entropy: float | None = None
    predicted_ml: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    noted: str = ""

    @property
    def model(self) -> str:
        """The model that predicted it, empty when that is not known."""
        return self.facts.get("model", "")


def rows(segmentation: slicer.vtkMRMLSegmentationNode) -> list[OrganRow]:
    """The organs of a segmentation in the order of its segments; segments that are none of ours are left out."""
    organs = []
    segments = segmentation.GetSegmentation()
    for segment_id in segments.GetSegmentIDs():
        segment = segments.GetSegment(segment_id)
        organ = tag(segment, _ORGAN)
        if not organ:
            continue
        state = tag(segment, _STATE)
        if state not in STATES:  # of a newer version: nothing is lost if it is reviewed again
            state = PREDICTED
        facts, checks, noted = _report_in(tag(segment, _REPORT))
        organs.append(OrganRow(segment_id, organ, state, checks, facts.get("entropy"), facts.get("volume_ml"), facts,
                               noted))
    return organs


@functools.lru_cache(maxsize=512)  # the organs are asked for at every change of the panel, and reports never change
def _report_in(text: str) -> tuple[dict[str, Any], tuple[OrganCheck, ...], str]:
    """What a tag says of the run that predicted an organ, its checks, and what an older version noted as text."""
    facts = json.loads(unquote(text) or "{}")
    noted = ""
    if "checks_data" not in facts:
        noted = facts.get("checks", "")
    return facts, read_checks(facts.get("checks_data", ())), noted


def row(segmentation: slicer.vtkMRMLSegmentationNode, organ: str) -> OrganRow | None:
    """The row of one organ, None when the segmentation has no such segment."""
    return next((organ_row for organ_row in rows(segmentation) if organ_row.organ == organ), None)


def accepted_organs(segmentation: slicer.vtkMRMLSegmentationNode) -> list[str]:
    """Organs whose voxels are a label: accepted ones, and absent ones, which are known to have no voxel."""
    return list(dict.fromkeys(row.organ for row in rows(segmentation) if row.state in DECIDED))


def decided_segments(segmentation: slicer.vtkMRMLSegmentationNode) -> dict[str, str]:
    """Of each of the `accepted_organs` the ID of its segment. Raises UserError as `one_of_each`."""
    decided = [row for row in rows(segmentation) if row.state in DECIDED]
    return {row.organ: row.segment_id for row in one_of_each(segmentation, decided)}


def one_of_each(segmentation: slicer.vtkMRMLSegmentationNode, organs: Iterable[OrganRow]) -> list[OrganRow]:
    """One row an organ, in the order of the rows. Somebody may have copied an organ from another segmentation: of its
    segments the accepted one counts, one marked as absent before none. Raises UserError where a choice is left."""
    by_organ: dict[str, list[OrganRow]] = {}
    for row in organs:
        by_organ.setdefault(row.organ, []).append(row)
    chosen = []
    for organ, of_organ in by_organ.items():
        best = [row for row in of_organ if row.state == ACCEPTED]
        best = best or [row for row in of_organ if row.state != ABSENT] or of_organ[:1]
        if len(best) > 1:
            names = [segmentation.GetSegmentation().GetSegment(row.segment_id).GetName() for row in best]
            raise UserError(_("{segmentation} has {organ} more than once: {segments}. Mark all but one of these as "
                              "absent in section Review, or remove them.").format(
                segmentation=segmentation.GetName(), organ=organ.replace("_", " "), segments=", ".join(names)))
        chosen += best
    return chosen


def mark_predicted(segment: slicer.vtkSegment, organ: str, report: dict[str, Any]) -> None:
    """Makes a segment an organ of ours, fresh from a run. `report`: the organ's entry in the run's result event."""
    segment.SetTag(_ORGAN, organ)
    # Quoted, because the file format separates tags by characters that sentences have.
    segment.SetTag(_REPORT, quote(json.dumps(report)))
    segment.SetTag(_STATE, PREDICTED)
    segment.SetTag(_ALGORITHM_TYPE, _BY[PREDICTED])
    segment.SetTag(_ALGORITHM_NAME, " ".join(filter(None, ("PartialOrganSeg", report.get("model", "")))))


def set_state(segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str, state: str) -> None:
    """Changes a segment's state. Raises ValueError for one that is not among `STATES`."""
    if state not in STATES:
        raise ValueError(f"state: expected one of {', '.join(STATES)}, found '{state}'")
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    segment.SetTag(_STATE, state)
    if state in _BY:
        segment.SetTag(_ALGORITHM_TYPE, _BY[state])


def algorithm_type(segment: slicer.vtkSegment) -> str:
    """How DICOM says the segment came about: AUTOMATIC, SEMIAUTOMATIC, or empty."""
    return tag(segment, _ALGORITHM_TYPE)


def tag(segment: slicer.vtkSegment, name: str) -> str:
    """A segment's tag, empty when it has none of that name."""
    value = vtk.reference("")
    if not segment.GetTag(name, value):
        return ""
    return str(value)
