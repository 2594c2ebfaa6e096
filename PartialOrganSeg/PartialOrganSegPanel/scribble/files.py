"""Strokes in files: label maps on a CT's voxels (see `scene.stroke_labelmap`), and scribble cases for training."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

from PartialOrganSegLib.atomic import whole_file
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.organs import LABEL_SPACES

from ..scene.ct_file import RIGHT_ANGLE, CtFile, write_ct
from ..scene.stroke_labelmap import NOT_DRAWN, scribble_labelmap
from ..scene.strokes import stroke_organs

KIND = "scribble"
_SHIFT = 0.2  # voxels that a file's rounded header may move a corner of the CT


def save_map(strokes: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode, path: Path) -> None:
    """Writes the label map on the CT's own voxels, whatever transform it is under. Raises OSError and UserError."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    axes = slicer.util.arrayFromVTKMatrix(matrix)[:3, :3]
    cosines = axes / np.linalg.norm(axes, axis=0)
    if np.abs(cosines.T @ cosines - np.eye(3)).max() > RIGHT_ANGLE:
        raise UserError(_("{ct}: expected voxel axes at right angles, found a sheared grid; save it as a case, which "
                          "resamples the CT with its strokes").format(ct=volume.GetName()))
    with _label_node(scribble_labelmap(strokes, volume), matrix) as node, whole_file(path) as temporary:
        write_ct(node, temporary)


def read_map(path: Path, volume: slicer.vtkMRMLScalarVolumeNode, organs: int) -> np.ndarray:
    """A scribble label map (z, y, x) on the voxels of `volume`, from a file in any orientation of the same grid.

    `organs` is the number of organs of the label space. Raises UserError for a file that cannot be read, does not lie
    on the CT's voxels, has other values, or is a dense label map.
    """
    if path.name.endswith(".seg.nrrd"):
        raise UserError(_("{path}: expected a label map, found a segmentation; load it with Add Data, its strokes are "
                          "taken over").format(path=path))
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    if not path.is_file() or not storage.ReadData(node) or node.GetImageData() is None:
        raise UserError(_("{path}: expected a label map, found no readable image").format(path=path))
    labels = _oriented_as(volume, node, path)
    values, counts = np.unique(labels, return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        if value != NOT_DRAWN and value not in range(organs + 1):
            raise UserError(_("{path}: expected 0..{last} or {not_drawn} (not drawn), found {value} ({count} voxels)")
                            .format(path=path, last=organs, not_drawn=NOT_DRAWN, value=value, count=count))
    if NOT_DRAWN not in values:
        raise UserError(_("{path}: expected {not_drawn} where nothing is drawn, found none: this is no scribble but a "
                          "dense label map").format(path=path, not_drawn=NOT_DRAWN))
    return labels.astype(np.uint8)


def _oriented_as(volume: slicer.vtkMRMLScalarVolumeNode, node: slicer.vtkMRMLLabelMapVolumeNode,
                 path: Path) -> np.ndarray:
    """The voxels of `node` in the axis order of `volume`. Raises UserError when the grids differ."""
    to_ijk, to_ras = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    volume.GetRASToIJKMatrix(to_ijk)
    node.GetIJKToRASMatrix(to_ras)
    matrix = slicer.util.arrayFromVTKMatrix(to_ijk) @ slicer.util.arrayFromVTKMatrix(to_ras)
    size, volume_size = node.GetImageData().GetDimensions(), volume.GetImageData().GetDimensions()
    turn, start = np.rint(matrix[:3, :3]).astype(int), np.rint(matrix[:3, 3])
    source = np.abs(turn).argmax(axis=1)  # of each axis of the volume, the file's
    sides = turn.sum(axis=1)
    permuted = sorted(source) == [0, 1, 2] and np.abs(turn).sum() == 3
    corners = np.stack(np.meshgrid(*([0, length - 1] for length in size), indexing="ij")).reshape(3, -1)
    moved = np.abs((matrix[:3, :3] - turn) @ corners + (matrix[:3, 3] - start)[:, None]).max()
    same = permuted and tuple(size[axis] for axis in source) == tuple(volume_size) and moved < _SHIFT
    if not same or any(start != np.where(sides < 0, np.array(volume_size) - 1, 0)):
        raise UserError(_("{path}: expected the geometry of {ct} ({wanted}), found {size}").format(
            path=path, ct=volume.GetName(), wanted=_grid_text(volume), size=_grid_text(node)))
    array = slicer.util.arrayFromVolume(node).T.transpose(source)
    return np.ascontiguousarray(np.flip(array, np.flatnonzero(sides < 0)).T)


def _grid_text(node: slicer.vtkMRMLVolumeNode) -> str:
    """Size, spacing and origin of a volume: `80 x 64 x 80 voxels of 5 x 5 x 5 mm at -150, 120, -700`."""
    return _("{size} voxels of {spacing} mm at {origin}").format(
        size=" x ".join(map(str, node.GetImageData().GetDimensions())),
        spacing=" x ".join(f"{length:.4g}" for length in node.GetSpacing()),
        origin=", ".join(f"{place:.4g}" for place in node.GetOrigin()))


@contextlib.contextmanager
def _label_node(labels: np.ndarray, ijk_to_ras: vtk.vtkMatrix4x4) -> Iterator[slicer.vtkMRMLLabelMapVolumeNode]:
    """A label map (z, y, x) as a node of the scene, for a moment."""
    node = slicer.util.addVolumeFromArray(labels, ijkToRAS=slicer.util.arrayFromVTKMatrix(ijk_to_ras),
                                          name="strokes", nodeClassName="vtkMRMLLabelMapVolumeNode")
    try:
        yield node
    finally:
        slicer.mrmlScene.RemoveNode(node)


# --- cases

def write_scribble(strokes: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode, ct: CtFile,
                   path: Path) -> None:
    """Writes the label map on the very voxels of a written CT. Raises OSError when that fails."""
    with _label_node(np.zeros(ct.size[::-1], np.uint8), ct.ijk_to_ras) as node:
        if ct.follows_volume:
            node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        slicer.util.updateVolumeFromArray(node, scribble_labelmap(strokes, node))
        write_ct(node, path)


def case_entry(image: str, label: str) -> dict[str, str]:
    """The case in a manifest, by its files."""
    return {"image": image, "label": label, "kind": KIND}


def write_case(strokes: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode, folder: Path) -> Path:
    """Writes CT, label map and a manifest of this one case into `folder`; returns the manifest. Raises OSError."""
    name = re.sub(r"[^\w.-]+", "_", volume.GetName()).strip("._") or "case"
    image, label = f"{name}.nrrd", f"{name}_scribble.nrrd"
    with whole_file(folder / image) as new_image, whole_file(folder / label) as new_label:
        write_scribble(strokes, volume, write_ct(volume, new_image), new_label)
    organs = stroke_organs(strokes)
    space = next((space.name for space in LABEL_SPACES.values() if space.names == organs), list(organs))
    manifest = {"label_space": space, "datasets": [{"name": name, "root": ".", "cases": [case_entry(image, label)]}]}
    path = folder / f"{name}_scribble.yaml"
    with whole_file(path) as temporary:  # JSON is YAML, and Slicer has no YAML writer
        temporary.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
