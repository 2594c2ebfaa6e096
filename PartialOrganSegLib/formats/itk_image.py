"""Images read and written by ITK, with one line for what is wrong."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

from ..errors import Code, UserError
from ..imaging.shapes import VoxelArray
from ..imaging.volume import Grid, Volume
from .itk import grid_of, image_of, itk_reason, quiet_itk
from .itk_names import itk_input, itk_output


def read_with_itk(path: Path, reader: str) -> Volume:
    """One scalar 3-D volume, its values as stored, by the ITK `reader` of the name. Raises UserError for anything
    else."""
    try:
        # The reader is named, so that content which was not checked reaches no other one.
        with itk_input(path) as name, quiet_itk():
            image = sitk.ReadImage(name, imageIO=reader)
    except RuntimeError as error:
        reason = f"damage: {itk_reason(error)}"
        if reason.startswith("damage: Unable to determine ImageIO"):
            reason = "other content"
        raise UserError(code=Code.FILE_DAMAGED, subject=path, expected="a whole NRRD or MetaImage file",
                        found=reason) from error
    return Volume(*scalar_voxels(path, image))


def scalar_voxels(path: Path | str, image: sitk.Image) -> tuple[VoxelArray, Grid]:
    """The voxels (z, y, x) of an image, and where they lie. Raises UserError for what is not one 3-D volume of numbers;
    `path` is how the line calls it."""
    components = image.GetNumberOfComponentsPerPixel()
    if components > 1:
        raise UserError(code=Code.NOT_A_VOLUME, subject=path, expected="one number a voxel",
                        found=f"{components} (colours, vectors or layers)")
    size = image.GetSize()
    if len(size) < 3:
        raise UserError(code=Code.NOT_A_VOLUME, subject=path, expected="a 3-D volume",
                        found=f"a 2-D image of {' x '.join(map(str, size))}")
    if len(size) > 3 and size[3] > 1:
        raise UserError(code=Code.NOT_A_VOLUME, subject=path, expected="one 3-D volume", found=f"{size[3]} volumes")
    array = sitk.GetArrayFromImage(image)
    if array.dtype.kind not in "iuf":
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="integer or float voxels",
                        found=image.GetPixelIDTypeAsString())
    # A fourth axis of one volume is dropped.
    return array.reshape(array.shape[-3:]), grid_of(image)


def write_with_itk(path: Path, volume: Volume) -> None:
    """Writes a compressed image. Raises RuntimeError or OSError."""
    write_image(path, image_of(volume))


def write_image(path: Path, image: sitk.Image) -> None:
    """Writes a SimpleITK image with compression. Raises RuntimeError or OSError."""
    with itk_output(path) as name, quiet_itk():
        sitk.WriteImage(image, name, True)


def read_back(path: Path) -> None:
    """Reads a file that was just written: NRRD and MetaImage writers tell damage, this is the second look. Raises
    RuntimeError."""
    with itk_input(path) as name, quiet_itk():
        sitk.ReadImage(name)
