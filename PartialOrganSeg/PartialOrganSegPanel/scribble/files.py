"""Strokes in files: label maps on a CT's voxels (see `scene.stroke_labelmap`), and scribble cases for training."""

from __future__ import annotations

import contextlib
import gzip
import json
import tempfile
import zlib
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import qt
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

from PartialOrganSegLib.atomic import whole_file
from PartialOrganSegLib.errors import Code, UserError
from PartialOrganSegLib.organs import LABEL_SPACES

from ..scene.ct_file import RIGHT_ANGLE, write_ct_steps
from ..scene.ct_identity import ct_identity
from ..scene.file_identity import read_identity
from ..scene.label_file import grid_of, write_label_layers
from ..scene.label_map_file import SUFFIXES, write_label_map
from ..scene.nrrd_pieces import SLAB_BYTES, slab_bounds, synced
from ..scene.stroke_labelmap import NOT_DRAWN, scribble_slabs, segment_values
from ..scene.strokes import stroke_organs
from ..shell.job import Progress
from ..shell.steps import counted

KIND = "scribble"
_SHIFT = 0.2  # voxels that a file's rounded header may move a corner of the CT


def save_map(strokes: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode,
             path: Path) -> Generator[None, None, None]:
    """Writes the label map on the CT's own voxels, whatever transform it is under, in the format of the file's name,
    which ends in one of `SUFFIXES`; a step takes some milliseconds. Raises OSError, and UserError also when something
    is drawn meanwhile."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    axes = slicer.util.arrayFromVTKMatrix(matrix)[:3, :3]
    cosines = axes / np.linalg.norm(axes, axis=0)
    if np.abs(cosines.T @ cosines - np.eye(3)).max() > RIGHT_ANGLE:
        raise UserError(code=Code.GRID_UNUSABLE, subject=volume.GetName(), expected=_("voxel axes at right angles"),
                        found=_("a sheared grid"),
                        hint=_("save it as a case, which resamples the CT with its strokes"))
    size = tuple(volume.GetImageData().GetDimensions())
    suffix = next(suffix for suffix in SUFFIXES if path.name.endswith(suffix))
    with whole_file(path) as temporary:
        yield from write_label_map(temporary, suffix, size, matrix, scribble_slabs(strokes, volume),
                                   ct_identity(volume))
        yield from synced(temporary)


def save_maps(strokes: Mapping[Path, slicer.vtkMRMLSegmentationNode],
              volume: slicer.vtkMRMLScalarVolumeNode) -> Generator[None, None, None]:
    """`save_map` of several nodes by their files. One that fails leaves those before it written."""
    for path, node in strokes.items():
        yield from save_map(node, volume, path)


def earlier_endings(count: int, suffix: str) -> list[str]:
    """Endings of the files of so many nodes of strokes that do not count, in the order of the nodes."""
    return [f"_earlier{suffix}", *(f"_earlier_{number}{suffix}" for number in range(2, count + 1))][:count]


def read_map(path: Path, volume: slicer.vtkMRMLScalarVolumeNode, organs: int) -> Generator[None, None, np.ndarray]:
    """A scribble label map (z, y, x) on the voxels of `volume`, from a file in any orientation of the same grid. A step
    takes some milliseconds, but for the one in which Slicer reads the file.

    `organs` is the number of organs of the label space. Raises UserError for a file that cannot be read, was drawn on
    another CT, does not lie on the CT's voxels, has other values, or is a dense label map.
    """
    if path.name.endswith(".seg.nrrd"):
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected=_("a label map"), found=_("a segmentation"),
                        hint=_("load it with Add Data, its strokes are taken over"))
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    unreadable = UserError(code=Code.WRONG_FORMAT, subject=path, expected=_("a label map"),
                           found=_("no readable image"))
    if not path.is_file():
        raise unreadable
    with contextlib.ExitStack() as stack:
        plain = path
        if path.name.endswith(".nii.gz"):
            plain = stack.enter_context(_scratch_file(".nii"))
            yield from _unpack(path, plain, unreadable)
        storage.SetFileName(str(plain))
        yield  # Slicer reads a file in one go, a tenth of a second of a large CT: a step of its own
        slicer.app.setOverrideCursor(qt.Qt.WaitCursor)
        try:
            readable = storage.ReadData(node) and node.GetImageData() is not None
        finally:
            slicer.app.restoreOverrideCursor()
        if not readable:
            raise unreadable
    drawn_on = read_identity(path)
    if drawn_on is not None and not drawn_on.same_as(ct_identity(volume)):
        raise UserError(code=Code.SETTINGS_CONFLICT, subject=path, found=_("strokes of another CT"),
                        expected=_("strokes that were drawn on {ct}").format(ct=volume.GetName()))
    yield
    return (yield from _label_values(_oriented_as(volume, node, path), path, organs))


@contextlib.contextmanager
def _scratch_file(suffix: str) -> Iterator[Path]:
    # what a virus scanner of Windows has open stays there
    with tempfile.TemporaryDirectory(prefix="partialorganseg-", dir=slicer.app.temporaryPath,
                                     ignore_cleanup_errors=True) as folder:
        yield Path(folder) / f"labels{suffix}"


def _unpack(path: Path, target: Path, unreadable: UserError) -> Generator[None, None, None]:
    """Unpacks a .gz in pieces. Raises UserError for one that is damaged."""
    try:
        with gzip.open(path) as packed, open(target, "wb") as file:
            while piece := packed.read(SLAB_BYTES):
                file.write(piece)
                yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise unreadable from error


def _label_values(labels: np.ndarray, path: Path, organs: int) -> Generator[None, None, np.ndarray]:
    """The labels as uint8. Raises UserError for other values than those of strokes, and for a dense label map."""
    counted_voxels, as_bytes = Counter[float](), np.empty(labels.shape, np.uint8)
    for start, end in slab_bounds(labels.shape, labels.itemsize):
        slab = labels[start:end]
        np.copyto(as_bytes[start:end], slab, casting="unsafe")
        if slab.dtype == np.uint8 or np.array_equal(as_bytes[start:end], slab):
            counts = np.bincount(as_bytes[start:end].ravel(), minlength=NOT_DRAWN + 1)
            values = np.flatnonzero(counts)
            counts = counts[values]
        else:
            values, counts = np.unique(slab, return_counts=True)
        counted_voxels.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        yield
    for value in sorted(counted_voxels):
        if value != NOT_DRAWN and value not in range(organs + 1):
            expected = _("0..{last} or {not_drawn} (not drawn)").format(last=organs, not_drawn=NOT_DRAWN)
            raise UserError(code=Code.WRONG_FORMAT, subject=path, expected=expected,
                            found=_("{value} ({count} voxels)").format(value=value, count=counted_voxels[value]))
    # a dense label map would make strokes of every voxel, and background of all that is no organ
    if NOT_DRAWN not in counted_voxels:
        expected = _("{not_drawn} where nothing is drawn").format(not_drawn=NOT_DRAWN)
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected=expected,
                        found=_("none: this is no scribble but a dense label map"))
    return as_bytes


def _oriented_as(volume: slicer.vtkMRMLScalarVolumeNode, node: slicer.vtkMRMLLabelMapVolumeNode,
                 path: Path) -> np.ndarray:
    """A view of the voxels of `node` in the axis order of `volume`. Raises UserError when the grids differ."""
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
    same_grid = permuted and tuple(size[axis] for axis in source) == tuple(volume_size) and moved < _SHIFT
    # a flipped axis starts at the CT's last voxel, any other at its first
    if not same_grid or any(start != np.where(sides < 0, np.array(volume_size) - 1, 0)):
        expected = _("the geometry of {ct} ({grid})").format(ct=volume.GetName(), grid=_grid_text(volume))
        raise UserError(code=Code.GEOMETRY_DIFFERS, subject=path, expected=expected, found=_grid_text(node))
    array = slicer.util.arrayFromVolume(node).T.transpose(source)
    return np.flip(array, np.flatnonzero(sides < 0)).T


def _grid_text(node: slicer.vtkMRMLVolumeNode) -> str:
    """Size, spacing and origin of a volume: `80 x 64 x 80 voxels of 5 x 5 x 5 mm at -150, 120, -700`."""
    return _("{size} voxels of {spacing} mm at {origin}").format(
        size=" x ".join(map(str, node.GetImageData().GetDimensions())),
        spacing=" x ".join(f"{length:.4g}" for length in node.GetSpacing()),
        origin=", ".join(f"{place:.4g}" for place in node.GetOrigin()))


# --- cases

def case_entry(image: str, label: str) -> dict[str, str]:
    """The case in a manifest, by its files."""
    return {"image": image, "label": label, "kind": KIND}


CASE_LABELS = "_scribble.nrrd"
CASE_ENDINGS = (".nrrd", CASE_LABELS, "_scribble.yaml")  # of a case's CT, label map and manifest


def write_case(strokes: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode, folder: Path,
               name: str, earlier: Sequence[slicer.vtkMRMLSegmentationNode] = ()) -> Generator[Progress, None, Path]:
    """Writes CT, label map and a manifest of this one case into `folder`; gives the manifest. A step takes some
    milliseconds. Raises OSError, and UserError when something is drawn meanwhile.

    `earlier`: strokes that do not count, each in a label map that the manifest does not list. The files are `name` with
    `CASE_ENDINGS` and `earlier_endings`, and replace others of that name.
    """
    image, label, manifest_name = (name + ending for ending in CASE_ENDINGS)
    organs, nodes = stroke_organs(strokes), {folder / label: strokes}
    for node, ending in zip(earlier, earlier_endings(len(earlier), CASE_LABELS), strict=True):
        nodes[folder / (name + ending)] = node
    with contextlib.ExitStack() as stack:
        new_image = stack.enter_context(whole_file(folder / image))
        maps = {stack.enter_context(whole_file(path)): node for path, node in nodes.items()}
        ct = yield from counted(write_ct_steps(volume, new_image), Progress(_("writing the CT"), 0, 2, None))
        with grid_of(volume, ct) as reference:
            for new_map, node in maps.items():
                yield from counted(write_label_layers([(node, segment_values(node))], reference, ct.ijk_to_file,
                                                      new_map, NOT_DRAWN),
                                   Progress(_("writing the strokes"), 1, 2, None))
        for path in (new_image, *maps):
            yield from counted(synced(path), Progress(_("saving"), 2, 2, None))
    space = next((space.name for space in LABEL_SPACES.values() if space.names == organs), list(organs))
    manifest = {"label_space": space, "datasets": [{"name": name, "root": ".", "cases": [case_entry(image, label)]}]}
    path = folder / manifest_name
    with whole_file(path) as temporary:  # JSON is YAML, and Slicer has no YAML writer
        temporary.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
