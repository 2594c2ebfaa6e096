"""The table of a user study (CSV): of every organ the time it took, the voxels changed, the Dice of the prediction."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from PartialOrganSegLib.atomic import whole_file
from PartialOrganSegLib.errors import Code, UserError
from PartialOrganSegLib.safe_text import csv_cell

from ..scene.ct_identity import CtIdentity, ct_identity
from ..scene.organ_rows import DECIDED, OrganRow, rows
from ..scene.review_record import ReviewRecord, read_record
from ..scene.voxel_counts import voxel_ml
from .export import reference_volume
from .prediction import predicted_segment

COLUMNS = ("ct", "ct_identity", "segmentation", "organ", "state", "active_seconds", "predicted_voxels", "voxels",
           "added_voxels", "removed_voxels", "predicted_ml", "ml", "dice_prediction_now", "dice_prediction_accepted")
FORMER_COLUMNS = tuple(name for name in COLUMNS if name != "ct_identity")  # of version 0.4
Line = dict[str, str]


def write_table(path: Path, segmentations: Sequence[slicer.vtkMRMLSegmentationNode], add: bool = False) -> int:
    """Writes one line an organ and returns their number. An empty field: not known, or not defined.

    `dice_prediction_accepted` is the figure of the user study of WORD (Luo 2021, 4.2.2): the prediction against what
    the reader accepted or, empty, marked as absent. With `add` the lines of other CTs in the file stay, as do those of
    other segmentations of these CTs. Raises OSError when the file cannot be written, and with `add` UserError when it
    is no such table.
    """
    new: list[Line] = []
    for node in segmentations:
        new += _lines(node)
    earlier: list[Line] = []
    if add:
        earlier = [line for line in read_table(path) if not _is_replaced(line, new)]
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows([*earlier, *new])
    return len(new)


def read_table(path: Path) -> list[Line]:
    """The lines of an earlier table. Raises UserError for another kind of file."""
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        columns = tuple(reader.fieldnames or ())
        if columns not in (COLUMNS, FORMER_COLUMNS):
            raise UserError(code=Code.WRONG_FORMAT, subject=path, expected=_("the table of a review"),
                            found=_("other columns"))
        return [_complete(line) for line in reader]


def _complete(line: dict[str, str | None]) -> Line:
    """All columns of a line; those that its file lacks, and fields that were cut off, are empty."""
    return {name: csv_cell(line.get(name) or "") for name in COLUMNS}


def _is_replaced(earlier: Line, new: Sequence[Line]) -> bool:
    return any(_replaces(line, earlier) for line in new)


def _replaces(new: Line, earlier: Line) -> bool:
    """Whether a line is of the same segmentation of the same CT, so that it takes the place of an earlier one."""
    if new["segmentation"] != earlier["segmentation"]:
        return False
    # a line of version 0.4 does not say of which CT it is: it stays
    identities = [CtIdentity.parsed(line["ct_identity"]) for line in (new, earlier)]
    if None in identities:
        return False
    return identities[0].same_as(identities[1])


def _lines(node: slicer.vtkMRMLSegmentationNode) -> list[Line]:
    volume = reference_volume(node)
    name, identity = "", ""
    if volume is not None:
        name = volume.GetName()
    if volume is not None and volume.GetImageData() is not None:
        identity = ct_identity(volume).text()
    lines = []
    for organ in rows(node):
        record = read_record(node.GetSegmentation().GetSegment(organ.segment_id))
        if record is not None:
            head = {"ct": name, "ct_identity": identity, "segmentation": node.GetName()}
            # Names come from files of others: none may be a formula, or a line of its own.
            lines.append(_complete(head | _figures(node, organ, record)))
    return lines


def _figures(node: slicer.vtkMRMLSegmentationNode, organ: OrganRow, record: ReviewRecord) -> Line:
    """What was recorded of an organ, ready to be written."""
    predicted = predicted_segment(node, organ.segment_id)
    ml = voxel_ml(node, node.GetSegmentation().GetSegment(organ.segment_id))
    if not ml and predicted is not None:  # an emptied segment has no voxel to measure
        ml = voxel_ml(node, predicted)
    dice, accepted_dice = _text(record.dice, 5), ""
    if organ.state in DECIDED:
        accepted_dice = dice
    predicted_ml = None
    if record.predicted is not None:
        predicted_ml = record.predicted * ml
    return {"organ": organ.organ, "state": organ.state, "active_seconds": str(record.seconds),
            "predicted_voxels": _text(record.predicted), "voxels": str(record.voxels),
            "added_voxels": _text(record.added), "removed_voxels": _text(record.removed),
            "predicted_ml": _text(predicted_ml, 3), "ml": _text(record.voxels * ml, 3),
            "dice_prediction_now": dice, "dice_prediction_accepted": accepted_dice}


def _text(value: float | None, decimals: int | None = None) -> str:
    """A figure as text, empty where it is not known."""
    if value is None:
        return ""
    if decimals is not None:
        value = round(value, decimals)
    return str(value)
