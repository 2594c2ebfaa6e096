"""Between SimpleITK's images and our volumes, without the console noise of ITK's readers."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import SimpleITK as sitk

from ..imaging.volume import Grid, Volume

_STALE = "Reason: No such file or directory"  # the system's error of an earlier call, which MetaImage's reader repeats
_NO_REASON = re.compile(r"^Exception thrown|\.[ch]xx:")
_NRRD_FUNCTION = re.compile(r"^\[nrrd\] \w+: ?")


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
    # Where in ITK's sources it happened helps nobody; where nothing else is said it is better than nothing.
    reasons = [line for line in lines if not _NO_REASON.search(line) and line != _STALE] or lines
    reasons = [_NRRD_FUNCTION.sub("", line) for line in reasons]
    sentences = [line for line in reasons if line and not line.endswith(":")]
    text = "; ".join(sentences[-2:])
    return text.split("): ", 1)[-1].replace("sitk::ERROR: ", "")[:200]


class _Placed(Protocol):
    """What SimpleITK's images and its readers, after reading a header, say of the geometry."""

    def GetDimension(self) -> int: ...
    def GetSize(self) -> tuple[int, ...]: ...
    def GetSpacing(self) -> tuple[float, ...]: ...
    def GetOrigin(self) -> tuple[float, ...]: ...
    def GetDirection(self) -> tuple[float, ...]: ...


def grid_of(image: _Placed) -> Grid:
    """Grid of an image, or of a reader that has read an image's header; further axes than three are dropped."""
    dimension = image.GetDimension()
    direction = np.asarray(image.GetDirection()).reshape(dimension, dimension)[:3, :3]
    width, height, depth = image.GetSize()[:3]
    dx, dy, dz = image.GetSpacing()[:3]
    x, y, z = image.GetOrigin()[:3]
    return Grid((width, height, depth), (dx, dy, dz), (x, y, z), tuple(direction.ravel().tolist()))


def image_of(volume: Volume) -> sitk.Image:
    """A SimpleITK image with a volume's voxels on its grid."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array))
    image.SetSpacing(volume.grid.spacing)
    image.SetOrigin(volume.grid.origin)
    image.SetDirection(volume.grid.direction)
    return image
