"""Types of what describes a voxel array, so that a signature says which three numbers or which array it wants.

Arrays are indexed (z, y, x), and so are `Shape3`, `Spacing3` and `Box3`. The fields of a `Grid`, and names that end in
`_xyz`, go the other way, as SimpleITK does.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Shape3: TypeAlias = tuple[int, int, int]
"""Number of voxels along three axes."""

Spacing3: TypeAlias = tuple[float, float, float]
"""Millimetres from one voxel's centre to the next one's, along three axes."""

Box3: TypeAlias = tuple[slice, slice, slice]
"""A part of an array, as an index to it: `array[box]`. Every slice has a start and a stop, and no step."""

Affine: TypeAlias = npt.NDArray[np.floating[Any]]
"""(4, 4): coordinates (a, b, c, 1) in one system to those in another."""

VoxelArray: TypeAlias = npt.NDArray[Any]
"""(z, y, x) voxels of any kind of number: a CT in HU, a label map, probabilities of one organ."""

LabelMap: TypeAlias = npt.NDArray[np.integer[Any]]
"""(z, y, x) integers: one label a voxel."""

Mask: TypeAlias = npt.NDArray[np.bool_]
"""(z, y, x) booleans: the voxels that belong to something."""

VoxelIndices: TypeAlias = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]
"""(n,) each: z, y and x of some voxels, as an index to an array."""

Coordinates: TypeAlias = npt.NDArray[np.floating[Any]]
"""(..., 2) or (..., 3): places or directions, in millimetres, pixels or voxels."""


class HasShape(Protocol):
    """An array or a tensor."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        ...


def shape_of(array: HasShape) -> Shape3:
    """The sizes of what has three axes, as a triple."""
    z, y, x = array.shape
    return z, y, x
