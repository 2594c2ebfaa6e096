"""Between SimpleITK's images and our volumes, without the console noise of ITK's readers."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

import numpy as np
import SimpleITK as sitk

from ..imaging.volume import Grid, Volume

_STALE = "Reason: No such file or directory"  # the system's error of an earlier call, which MetaImage's reader repeats


@contextlib.contextmanager
def quiet_itk() -> Iterator[None]:
    """Keeps ITK, GDCM and MetaIO from writing to stderr: what matters in their words reaches the user as one line.

    GDCM and MetaIO write past ITK's own switch, so the process's stderr is turned away as well.
    """
    warnings = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    saved = None
    with contextlib.suppress(OSError):  # a windowed program may have no stderr
        saved = os.dup(2)
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 2)
        os.close(sink)
    try:
        yield
    finally:
        if saved is not None:
            os.dup2(saved, 2)
            os.close(saved)
        sitk.ProcessObject.SetGlobalWarningDisplay(warnings)


def itk_reason(error: Exception) -> str:
    """The part of an ITK exception that says what happened, as one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith("Exception thrown") and ".cxx:" not in line
            and ".hxx:" not in line and line != _STALE]
    said = [re.sub(r"^\[nrrd\] \w+: ?", "", line) for line in said or lines]
    text = "; ".join([line for line in said if line and not line.endswith(":")][-2:])
    return text.split("): ", 1)[-1].replace("sitk::ERROR: ", "")[:200]


def grid_of(image: sitk.Image | sitk.ImageFileReader) -> Grid:
    """Grid of an image, or of a reader that has read an image's header; further axes than three are dropped."""
    dimension = image.GetDimension()
    direction = np.asarray(image.GetDirection()).reshape(dimension, dimension)[:3, :3]
    return Grid(tuple(image.GetSize())[:3], tuple(image.GetSpacing())[:3], tuple(image.GetOrigin())[:3],
                tuple(float(c) for c in direction.ravel()))


def image_of(volume: Volume) -> sitk.Image:
    """A SimpleITK image with a volume's voxels on its grid."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array))
    image.SetSpacing(volume.grid.spacing)
    image.SetOrigin(volume.grid.origin)
    image.SetDirection(volume.grid.direction)
    return image
