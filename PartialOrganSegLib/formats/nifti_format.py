"""The NIfTI format: voxels read by us, geometry by ITK, so that a result lies where Slicer shows the input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..imaging.volume import Grid, Volume
from .checks import no_orientation
from .itk import grid_of, itk_reason, quiet_itk
from .itk_image import write_with_itk
from .itk_names import itk_input
from .nifti import NiftiHeader, is_nifti, read_nifti
from .registry import register_format

_TOLERANCE_MM = 0.5  # what nobody sees and what rounding in headers can make


@register_format
class NIfTI:
    """NIfTI in one file, plain or compressed."""

    name = "nifti"
    suffixes = (".nii.gz", ".nii")

    def reads(self, path: Path) -> bool:
        """By its name."""
        return is_nifti(path) and not path.is_dir()

    def read(self, path: Path, reporter: Reporter) -> Volume:
        """Values scaled by slope and intercept; faults of the header that ITK hides are warned of."""
        header, array = read_nifti(path, reporter)
        return Volume(array, nifti_grid(path, header, reporter))

    def write(self, path: Path, volume: Volume) -> None:
        """Compressed where the suffix says so; read again, because ITK does not notice a file cut short by a full
        disk."""
        write_with_itk(path, volume)
        read_nifti(path)


def nifti_grid(path: Path, header: NiftiHeader, reporter: Reporter) -> Grid:
    """ITK's reading of the header, so that the result lies where Slicer shows the input; faults it hides are told."""
    if not all(np.isfinite(p) and p > 0 for p in header.pixdim):
        spacing = " x ".join(f"{p:g}" for p in header.pixdim)
        raise UserError(code=Code.GRID_UNUSABLE, subject=path, expected="a positive voxel spacing",
                        found=f"{spacing} mm")
    if header.sform is None and header.qform is None:
        reporter.warning(no_orientation(path, "none (qform_code and sform_code are 0)"))
    sform = None
    if header.sform is not None:
        try:
            sform = header.grid_of(header.sform)
        except ValueError as error:
            raise UserError(code=Code.GRID_UNUSABLE, subject=path, expected="a position for every voxel",
                            found=error) from error
    # The header alone; the voxels are read already.
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NiftiImageIO")
    try:
        with itk_input(path) as name, quiet_itk():
            reader.SetFileName(name)
            reader.ReadImageInformation()
    except RuntimeError as error:
        if sform is None:
            raise UserError(code=Code.FILE_DAMAGED, subject=path, expected="a readable NIfTI header",
                            found=itk_reason(error)) from error
        return sform  # ITK refuses axes that are not quite at right angles; check_grid mends or refuses them
    grid = grid_of(reader)
    if sform is None:
        return grid
    qform = sform
    if header.qform is not None and np.isfinite(header.qform).all():
        qform = header.grid_of(header.qform)
    chosen = "sform" if grid.same_as(sform, _TOLERANCE_MM) else "qform"
    if chosen == "qform" or not qform.same_as(sform, _TOLERANCE_MM):
        reporter.warning(Problem(Code.GRID_ADJUSTED, str(path), hint=f"the {chosen} is used",
                                 found="the header gives two different positions (sform and qform)"))
    return grid
