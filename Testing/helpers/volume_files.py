"""Volumes written to files, whole and broken, for the tests of reading."""

import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats.reading import read_ct

TILTED = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)


def body(dtype: type = np.int16, shape: tuple[int, int, int] = (12, 20, 24)) -> np.ndarray:
    """Noisy soft tissue in air."""
    noise = np.random.default_rng(0).integers(-20, 20, shape)
    array = np.full(shape, -1000) + noise
    array[2:-2, 4:-4, 4:-4] += 1040
    return array.astype(dtype)


def save(path: Path, array: np.ndarray, spacing: tuple = (0.8, 0.9, 5.0), direction: tuple | None = None,
         vector: bool = False) -> Path:
    """An array (z, y, x) written by ITK, tilted unless another `direction` is given; the path."""
    image = sitk.GetImageFromArray(array, isVector=vector)
    # ITK refuses three numbers for images of two or four axes.
    if image.GetDimension() == 3:
        image.SetSpacing(spacing)
        image.SetOrigin((-10.0, 20.0, 300.5))
        image.SetDirection(direction or TILTED)
    sitk.WriteImage(image, str(path), path.name.endswith(("gz", "nrrd")))
    return path


def patched(path: Path, offset: int, kinds: str, *values: float) -> Path:
    """A .nii file with numbers of its header replaced."""
    raw = bytearray(path.read_bytes())
    struct.pack_into("<" + kinds, raw, offset, *values)
    path.write_bytes(raw)
    return path


def refused(path: Path, *words: str, call=read_ct, **arguments) -> str:
    """The one line of the UserError, which names the file, `expected`, `found` and all `words`."""
    with pytest.raises(UserError) as caught:
        call(path, **arguments)
    text = str(caught.value)
    assert "\n" not in text
    for word in (path.name, "expected", "found", *words):
        assert word in text
    return text
