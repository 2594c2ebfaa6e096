"""Accepted organs as files: a partially labelled case with its CT and manifest."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import slicer
import slicer.util
from slicer.i18n import tr as _

from PartialOrganSegLib.atomic import whole_file
from PartialOrganSegLib.organs import LABEL_SPACES, WORD16, LabelSpace

from ..scene.ct_file import CtFile, write_ct_steps
from ..scene.ct_tag import refuse_another_ct
from ..scene.label_file import grid_of, write_labels
from ..scene.nrrd_pieces import synced
from ..scene.organ_rows import decided_segments, rows
from ..shell.job import Progress
from ..shell.steps import counted


def reference_volume(segmentation: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The CT that a segmentation was made on, None when it is not in the scene."""
    return segmentation.GetNodeReference(slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole())


def reviewed_segmentations() -> list[slicer.vtkMRMLSegmentationNode]:
    """All segmentations of the scene that have organs of ours."""
    return [node for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if rows(node)]


def write_accepted(segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode, ct: CtFile,
                   path: Path, space: LabelSpace = WORD16,
                   lost: dict[str, int] | None = None) -> Generator[None, None, list[str]]:
    """Writes the accepted organs as a labelmap on the very voxels of a written CT; gives the annotated organs.

    `space` gives the label values. `lost` gets the voxels that organs lose to later ones which overlap with them. A
    step is a slab of slices. The scene is left as it is. Raises OSError when the file cannot be written, UserError for
    an organ that the label space does not know, for one that was accepted in two segments, and when an organ is edited
    meanwhile.
    """
    segments = decided_segments(segmentation)
    annotated = list(segments)
    values = dict(zip(segments.values(), space.indices(annotated), strict=True))
    with grid_of(volume, ct) as reference:
        voxels = yield from write_labels(segmentation, values, reference, ct.ijk_to_file, path)
    if lost is not None:
        lost |= {space.names[value - 1]: count for value, count in voxels.items()}
    return annotated


CASE_ENDINGS = (".nrrd", "_label.nrrd", ".yaml")  # of a case's CT, labels and manifest


def write_case(segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode,
               folder: Path, name: str, space: LabelSpace = WORD16,
               lost: dict[str, int] | None = None) -> Generator[Progress, None, Path]:
    """Writes CT, accepted labels and a manifest of this one partial case into `folder`; gives the manifest.

    The files are `name` with `CASE_ENDINGS`, and replace others of that name. A step takes some milliseconds. `lost`,
    OSError and UserError as in `write_accepted`; UserError also for a segmentation of another CT.
    """
    refuse_another_ct(segmentation, volume)
    image, label, manifest_name = (name + ending for ending in CASE_ENDINGS)
    # both or none: labels beside an earlier CT of the same name would be wrong
    with whole_file(folder / image) as new_image, whole_file(folder / label) as new_label:
        ct = yield from counted(write_ct_steps(volume, new_image), Progress(_("writing the CT"), 0, 2, None))
        annotated = yield from counted(write_accepted(segmentation, volume, ct, new_label, space, lost),
                                       Progress(_("writing the organs"), 1, 2, None))
        for path in (new_image, new_label):
            yield from counted(synced(path), Progress(_("saving"), 2, 2, None))
    # the name of a built-in label space, the organs of any other
    space_entry: str | list[str] = list(space.names)
    if space.name in LABEL_SPACES:
        space_entry = space.name
    manifest = {"label_space": space_entry, "datasets": [{
        "name": name, "root": ".", "kind": "partial", "annotated": annotated,
        "cases": [{"image": image, "label": label}]}]}
    path = folder / manifest_name
    with whole_file(path) as temporary:  # JSON is YAML, and Slicer has no YAML writer
        temporary.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
