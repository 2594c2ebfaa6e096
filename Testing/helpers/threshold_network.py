"""A bundle whose network is made by hand, so that the right segmentation of any CT is known."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from PartialOrganSegLib.models.bundle import Bundle, Preprocessing
from PartialOrganSegLib.organs import WORD16

LEVELS = {"liver": 200.0, "spleen": 400.0, "left_kidney": 700.0, "right_kidney": 700.0}


class Threshold(torch.nn.Module):
    """A hand-made network with a known answer: the organ whose intensity is nearest to the voxel's."""

    size_multiple = (4, 8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Input is HU / 1000; logits (B, 17, z, y, x)."""
        assert all(n % m == 0 for n, m in zip(x.shape[2:], self.size_multiple, strict=True))
        # Far from every HU: organs without a level are never the nearest.
        levels = torch.full((17,), 99.0)
        levels[0] = 0.0
        for name in ("liver", "spleen", "left_kidney"):
            levels[WORD16.index(name)] = LEVELS[name] / 1000
        return -((x - levels.view(1, 17, 1, 1, 1)).abs() * 20).clamp(max=30)


def threshold_bundle(tmp_path, patch=(16, 32, 32), spacing=(4.0, 4.0, 4.0)) -> Bundle:
    """A bundle in memory with `Threshold` as its network; `patch` voxels and `spacing` mm are (z, y, x)."""
    class HandMade(Bundle):
        def load_network(self, device="cpu"):
            return Threshold()

    return HandMade(tmp_path, "threshold", SimpleNamespace(version="1.0.0"), WORD16,
                Preprocessing(spacing, (-1000.0, 1000.0), 0.0, 1000.0, patch), "threshold", {})
