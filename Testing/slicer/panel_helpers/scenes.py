"""Volumes for the tests: the library's phantom, as it stands in a scene."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import slicer
import slicer.util


@functools.cache
def phantom(seed=3):
    """(HU, labels) as int16 and uint8 arrays (z, y, x) and the spacing in mm: a trunk, coarse enough to be quick.
    `seed` chooses the patient."""
    from PartialOrganSegLib.synthesis.phantom import make_phantom

    ct, labels = make_phantom(shape_zyx=(80, 64, 80), spacing_zyx=(5.0, 5.0, 5.0), seed=seed)
    return ct.array, labels.array, 5.0


@functools.cache
def upper_abdomen(seed=3, slices=26):
    """(HU, labels) of the slices of `phantom(seed)` around the spleen: one window in height, so that the embedded model
    is quick."""
    hu, labels, _ = phantom(seed)
    spleen = np.flatnonzero((labels == 2).any((1, 2)))
    start = max(0, (spleen[0] + spleen[-1] - slices) // 2)
    return hu[start:start + slices], labels[start:start + slices]


def rotation(*degrees: float) -> np.ndarray:
    """3x3 rotation about x, then y, then z."""
    result = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        a, b = [(1, 2), (0, 2), (0, 1)][axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result


def add_ct(name="CT", array=None, axes=None, origin=(-150.0, 120.0, -700.0)):
    """A CT in the scene, by default the phantom in RAS directions (-x, -y, z), turned by `axes` (3x3) if given."""
    if array is None:
        array, _, spacing = phantom()
    else:
        spacing = 5.0
    matrix = np.eye(4)
    matrix[:3, :3] = (np.eye(3) if axes is None else axes) @ np.diag([-spacing, -spacing, spacing])
    matrix[:3, 3] = origin
    return slicer.util.addVolumeFromArray(np.ascontiguousarray(array), ijkToRAS=matrix, name=name)


def label_array(segmentation, volume, organ):
    """bool (z, y, x): voxels of `volume` in the segment of an organ."""
    from PartialOrganSegPanel.scene.organ_rows import row

    return slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, row(segmentation, organ).segment_id, volume) > 0


def write_result(path, array, volume_matrix=None):
    """The library's own .seg.nrrd of a label array (z, y, x), as a run writes it."""
    from PartialOrganSegLib.formats.writing import write_segmentation
    from PartialOrganSegLib.imaging.volume import Grid, Volume
    from PartialOrganSegLib.organs import WORD16

    write_segmentation(path, Volume(array, Grid(array.shape[::-1], (5.0, 5.0, 5.0))), WORD16)


def reports(organs, array):
    """What a run's result event says of the organs."""
    from PartialOrganSegLib.segmenting.check_kinds import CheckKind, OrganCheck
    from PartialOrganSegLib.segmenting.organ_checks import OrganReport

    return [OrganReport(organ.name, float(np.count_nonzero(array == organ.index)) / 8, 1,
                        [OrganCheck(CheckKind.TOUCHES_BORDER, organ.name)], 0.1).as_event() for organ in organs]


def end_segment(process, array=None, organs=None):
    """The command `segment` that a FakeProcess was asked for ends well: with the labels `array` (default: the
    phantom's) of `organs` (default: all)."""
    write_segment_result(process, array, organs)()


def write_segment_result(process, array=None, organs=None):
    """Writes the files of `end_segment`; what it returns, called, is the command's end."""
    from PartialOrganSegLib.organs import WORD16

    array = phantom()[1] if array is None else array
    chosen = [organ for organ in WORD16.organs if organs is None or organ.name in organs]
    folder = Path(process.arguments[process.arguments.index("-o") + 1])
    folder.mkdir()
    array = np.where(np.isin(array, [organ.index for organ in chosen]), array, 0).astype(np.uint8)
    write_result(folder / "ct.seg.nrrd", array)
    facts = reports(chosen, array)

    def end():
        process.say("result", files={"segmentation": str(folder / "ct.seg.nrrd")}, seconds=2.0, organs=facts)
        process.say("result", segmented=1, failed=[])
        process.end(0)

    return end


def add_result(volume, organs=None, array=None):
    """A segmentation of `volume` in the scene as a run leaves it, with the phantom's exact labels."""
    from tempfile import TemporaryDirectory

    from PartialOrganSegPanel.scene.ct_file import write_ct
    from PartialOrganSegPanel.scene.segmentation_result import import_result

    from PartialOrganSegLib.organs import WORD16

    array = phantom()[1] if array is None else array
    chosen = [organ for organ in WORD16.organs if organs is None or organ.name in organs]
    with TemporaryDirectory(dir=slicer.app.temporaryPath) as folder:
        path = Path(folder) / "ct.seg.nrrd"
        write_result(path, np.where(np.isin(array, [organ.index for organ in chosen]), array, 0).astype(np.uint8))
        ct = write_ct(volume, Path(folder) / "ct.nrrd")
        facts = {report["organ"]: report for report in reports(chosen, array)}
        node = import_result(path, volume, ct, WORD16.organs, facts)
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    return node


def decide(segmentation, *organs, state=None):
    """The state of some organs, accepted unless it is said."""
    from PartialOrganSegPanel.scene.organ_rows import ACCEPTED, row, set_state

    for organ in organs:
        set_state(segmentation, row(segmentation, organ).segment_id, state or ACCEPTED)


def ijk_to_ras(volume):
    """Its 4x4 matrix from voxel indices to RAS mm, without transforms."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def strokes_on(volume, labels, organs=None):
    """A node of strokes on `volume` of a scribble label map (z, y, x), of these organs (default: WORD's)."""
    from PartialOrganSegPanel.scene.stroke_labelmap import draw_labelmap
    from PartialOrganSegPanel.scene.strokes import new_strokes

    from PartialOrganSegLib.organs import WORD16

    strokes = new_strokes(volume, WORD16.organs if organs is None else organs)
    draw_labelmap(strokes, volume, labels)
    return strokes


def add_strokes(volume, value=1):
    """Some strokes on `volume` of the organ with this value; gives their label map."""
    from PartialOrganSegPanel.scene.stroke_labelmap import NOT_DRAWN

    labels = np.full(phantom()[1].shape, NOT_DRAWN, np.uint8)
    labels[40, 30:34, 10 * value:10 * value + 4] = value
    strokes_on(volume, labels)
    return labels


def add_transform(axes, offset):
    """A linear transform node: 3x3 `axes` and an offset in mm, RAS."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "T")
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes, offset
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node
