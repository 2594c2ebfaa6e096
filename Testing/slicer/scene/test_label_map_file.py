"""Label maps written slab by slab are what ITK and Slicer read, in all formats."""

import gzip

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import slicer.util
import vtk
from panel_helpers.scenes import add_ct, rotation
from PartialOrganSegPanel.scene.ct_identity import ct_identity
from PartialOrganSegPanel.scene.file_identity import read_identity
from PartialOrganSegPanel.scene.label_map_file import SUFFIXES, write_label_map
from PartialOrganSegPanel.scene.voxel_counts import finished

SIZE = (7, 6, 5)
AXES = {"RAS": np.eye(3), "flipped": np.diag([-1, 1, -1]), "oblique": rotation(12, -7, 30)}


@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_voxels_and_places(tmp_path, suffix, axes):
    labels = np.random.default_rng(0).integers(0, 256, SIZE[::-1], np.uint8)
    volume = add_ct(array=labels.astype(np.int16), axes=axes @ np.diag([0.14, 0.2, 0.5]),
                    origin=(-123.456, 78.9, -654.321))
    matrix, path = vtk.vtkMatrix4x4(), tmp_path / f"map{suffix}"
    volume.GetIJKToRASMatrix(matrix)
    finished(write_label_map(path, suffix, SIZE, matrix, [labels[:2], labels[2:]], ct_identity(volume)))
    image = sitk.ReadImage(str(path))
    assert image.GetPixelID() == sitk.sitkUInt8
    assert np.array_equal(sitk.GetArrayFromImage(image), labels)
    for index in ((0, 0, 0), (6, 0, 0), (0, 5, 0), (6, 5, 4)):
        expected = np.array(matrix.MultiplyPoint((*index, 1))[:3]) * (-1, -1, 1)
        assert np.allclose(image.TransformIndexToPhysicalPoint(index), expected, atol=1e-3)
    node = slicer.util.loadVolume(str(path), {"labelmap": True})
    read = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(read)
    assert np.allclose(slicer.util.arrayFromVTKMatrix(read), slicer.util.arrayFromVTKMatrix(matrix), atol=1e-3)
    assert np.array_equal(slicer.util.arrayFromVolume(node), labels)
    expected_identity = ct_identity(volume)
    if suffix == ".mha":  # it has no place for it
        expected_identity = None
    assert read_identity(path) == expected_identity


def test_a_packed_file_is_one_stream(tmp_path):
    labels = np.zeros((4, 3, 2), np.uint8)
    volume = add_ct(array=labels.astype(np.int16))
    plain, packed = tmp_path / "a.nii", tmp_path / "a.nii.gz"
    for path, suffix in ((plain, ".nii"), (packed, ".nii.gz")):
        finished(write_label_map(path, suffix, (2, 3, 4), vtk.vtkMatrix4x4(), [labels], ct_identity(volume)))
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()
