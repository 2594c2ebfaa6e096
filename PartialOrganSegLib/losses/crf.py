"""Windowed dense CRF energy (regularised losses, Tang 2018): neighbours of like brightness want like labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from types import EllipsisType
from typing import TypeAlias

import torch
from torch import nn

from ..errors import Code, UserError
from ..loading.targets import Targets
from .registry import LOSSES
from .supervision import Supervision

Index: TypeAlias = tuple[EllipsisType | slice, ...]


@LOSSES.register("crf", source="Tang 2018, windowed")
class WindowedCRF(nn.Module):
    """`1/N sum_{i != j} w_ij (1 - sum_c p_ic p_jc)` over the pairs of voxels within a window.

    This is Tang's relaxed Potts energy `sum_c p_c' W (1 - p_c)` with the bilateral kernel
    `w_ij = exp(-|x_i - x_j|^2 / 2 position_sigma^2 - (I_i - I_j)^2 / 2 intensity_sigma^2)`, cut off beyond `radius`
    voxels of each axis (Obukhov 2019), so plain shifts of the arrays replace the high-dimensional filter; N is the
    number of voxels inside the image, and pairs with one outside do not count. `gated` counts only pairs with an
    unknown voxel in them; otherwise all do (dense).

    `radius` and `position_sigma` in voxels, one number or one for each axis; window and position width 5 and 6 are
    Obukhov's. `intensity_sigma` is in units of the network's input: Tang's 15 of 255 grey values is 0.16 for a window
    of 400 HU that is divided by 150. In 3D take a smaller radius: cost grows with the number of window voxels.
    """

    def __init__(self, radius: int | Sequence[int] = 5, position_sigma: float | Sequence[float] = 6.0,
                 intensity_sigma: float = 0.16, gated: bool = False) -> None:
        super().__init__()
        self.radius, self.position_sigma = radius, position_sigma
        self.intensity_sigma, self.gated = intensity_sigma, gated

    def check_axes(self, axes: int) -> None:
        """Raises UserError for an argument that has neither one number nor one for each of so many axes."""
        _per_axis("radius", self.radius, axes)
        _per_axis("position_sigma", self.position_sigma, axes)

    def forward(self, logits: torch.Tensor, targets: Targets) -> torch.Tensor:
        """Scalar float32, at least 0. Raises ValueError for a batch without image, and UserError as `check_axes`."""
        batch = Supervision.of(logits, targets)
        image, probability, unknown = batch.intensity, batch.probability_map, batch.unknown_map
        sizes = tuple(image.shape[1:])
        # Most patches lie inside altogether; then nothing has to be left out of any pair.
        counted = None if batch.inside_map.all() else batch.inside_map
        energies = []
        sigmas = _per_axis("position_sigma", self.position_sigma, len(sizes))
        for offset in _half_window(_per_axis("radius", self.radius, len(sizes))):
            if any(abs(step) >= size for step, size in zip(offset, sizes, strict=True)):
                continue
            voxel, partner = _overlap(offset)
            near = math.exp(-sum((step / sigma) ** 2 for step, sigma in zip(offset, sigmas, strict=True)) / 2)
            difference = (image[voxel] - image[partner]) / self.intensity_sigma
            weight = near * torch.exp(-difference.square() / 2)
            if self.gated:
                weight = weight * (unknown[voxel] | unknown[partner])
            if counted is not None:
                weight = weight * (counted[voxel] & counted[partner])
            agreement = (probability[voxel] * probability[partner]).sum(1)
            # Each pair occurs in the window of either of its voxels.
            energies.append(2 * (weight * (1 - agreement)).sum())
        if not energies:
            return batch.zero
        count = torch.tensor(image.numel()) if counted is None else counted.sum().clamp_min(1)
        return torch.stack(energies).sum() / count.to(image.device)


def _per_axis(name: str, value: float | Sequence[float], axes: int) -> tuple[float, ...]:
    values = (value,) * axes if isinstance(value, int | float) else tuple(value)
    if len(values) != axes:
        raise UserError(code=Code.VALUE_UNFIT, subject=f"loss_arguments: crf.{name}",
                        expected=f"one number or {axes}, one an axis", found=list(values))
    return values


def _half_window(radius: Sequence[float]) -> Iterator[tuple[int, ...]]:
    """One of each pair of opposite offsets, without the centre."""
    # Of two opposite offsets one is above 0 in the order of tuples.
    for offset in product(*(range(-int(r), int(r) + 1) for r in radius)):
        if offset > (0,) * len(offset):
            yield offset


def _overlap(offset: Sequence[int]) -> tuple[Index, Index]:
    """Indices to the voxels that have a partner at `offset`, and to these partners; both of the last axes."""
    voxels = []
    partners = []
    for step in offset:
        first, second = slice(0, -abs(step) or None), slice(abs(step), None)
        if step < 0:
            first, second = second, first
        voxels.append(first)
        partners.append(second)
    return (..., *voxels), (..., *partners)
