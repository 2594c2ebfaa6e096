"""Files from a review: the table of times and changes (CSV), and accepted organs as a partially labelled case."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import slicer
import slicer.util

from PartialOrganSegLib.atomic import whole_file
from PartialOrganSegLib.organs import LABEL_SPACES, WORD16, LabelSpace

from ..scene.ct_file import CtFile, write_ct
from ..scene.organ_rows import DECIDED, accepted_organs, row, rows
from ..scene.review_record import read_record
from ..scene.segment_voxels import segment_array
from ..scene.voxel_counts import voxel_ml
from .prediction import prediction_node

COLUMNS = ("ct", "segmentation", "organ", "state", "active_seconds", "predicted_voxels", "voxels", "added_voxels",
           "removed_voxels", "predicted_ml", "ml", "dice_prediction_now", "dice_prediction_accepted")


def reference_volume(segmentation: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The CT that a segmentation was made on, None when it is not in the scene."""
    return segmentation.GetNodeReference(slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole())


def reviewed_segmentations() -> list[slicer.vtkMRMLSegmentationNode]:
    """All segmentations of the scene that have organs of ours."""
    return [node for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if rows(node)]


def write_table(path: Path, segmentations: Sequence[slicer.vtkMRMLSegmentationNode]) -> int:
    """Writes one line an organ and returns their number. An empty field: not known, or not defined.

    `dice_prediction_accepted` is the figure of the user study of WORD (Luo 2021, 4.2.2): the prediction against what
    the reader accepted or, empty, marked as absent. Raises OSError when the file cannot be written.
    """
    lines = [line for node in segmentations for line in _lines(node)]
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(lines)
    return len(lines)


def _lines(node: slicer.vtkMRMLSegmentationNode) -> list[list[object]]:
    volume, predictions = reference_volume(node), prediction_node(node)
    lines = []
    for organ in rows(node):
        segment = node.GetSegmentation().GetSegment(organ.segment_id)
        record = read_record(segment)
        if record is None:
            continue
        predicted = predictions.GetSegmentation().GetSegment(organ.segment_id) if predictions else None
        ml = voxel_ml(node, segment) or (voxel_ml(node, predicted) if predicted else 0.0)
        dice = "" if record.dice is None else round(record.dice, 5)
        lines.append([volume.GetName() if volume else "", node.GetName(), organ.organ, organ.state, record.seconds,
                      _known(record.predicted), record.voxels, _known(record.added), _known(record.removed),
                      "" if record.predicted is None else round(record.predicted * ml, 3),
                      round(record.voxels * ml, 3), dice, dice if organ.state in DECIDED else ""])
    return lines


def _known(value: int | None) -> int | str:
    return "" if value is None else value


def write_accepted(segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode, ct: CtFile,
                   path: Path, space: LabelSpace = WORD16) -> list[str]:
    """Writes the accepted organs as a labelmap on the very voxels of a written CT; returns the annotated organs.

    `space` gives the label values. The scene is left as it is. Raises OSError when the file cannot be written and
    UserError for an organ that the label space does not know.
    """
    annotated = accepted_organs(segmentation)
    values = space.indices(annotated)
    labels = np.zeros(ct.size[::-1], np.uint8)
    node = slicer.util.addVolumeFromArray(labels, ijkToRAS=slicer.util.arrayFromVTKMatrix(ct.ijk_to_ras),
                                          name="labels", nodeClassName="vtkMRMLLabelMapVolumeNode")
    try:
        if ct.follows_volume:
            node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        array = slicer.util.arrayFromVolume(node)
        for organ, value in zip(annotated, values, strict=True):
            array[segment_array(segmentation, row(segmentation, organ).segment_id, node)] = value
        slicer.util.arrayFromVolumeModified(node)
        write_ct(node, path)
    finally:
        slicer.mrmlScene.RemoveNode(node)
    return annotated


def write_case(segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode,
               folder: Path, space: LabelSpace = WORD16) -> Path:
    """Writes CT, accepted labels and a manifest of this one partial case into `folder`; returns the manifest.

    Raises OSError and UserError as `write_accepted`.
    """
    name = re.sub(r"[^\w.-]+", "_", volume.GetName()).strip("._") or "case"
    image, label = f"{name}.nrrd", f"{name}_label.nrrd"
    with whole_file(folder / image) as new_image, whole_file(folder / label) as new_label:
        annotated = write_accepted(segmentation, volume, write_ct(volume, new_image), new_label, space)
    manifest = {"label_space": space.name if space.name in LABEL_SPACES else list(space.names), "datasets": [{
        "name": name, "root": ".", "kind": "partial", "annotated": annotated,
        "cases": [{"image": image, "label": label}]}]}
    path = folder / f"{name}.yaml"
    with whole_file(path) as temporary:  # JSON is YAML, and Slicer has no YAML writer
        temporary.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
