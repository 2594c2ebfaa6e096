"""Pseudo-labels: a snapshot of the network decides what annotations leave open, within what they allow.

For unlabelled images that is EM-like self-training (Bai 2017, the semi-supervised baseline of Zhou 2019); for partial
labels it is the restriction of Zhou 2019, equation 5: an unlabelled voxel gets one of the classes not annotated there.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import nn

from ..annotation import OUTSIDE


class Snapshot:
    """A frozen copy of `network`, renewed every `interval` steps.

    `table` (K, C) bool must hold a singleton for every class.
    """

    def __init__(self, network: nn.Module, table: torch.Tensor, interval: int) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.interval = interval
        self._table = table
        self._decided = table.sum(1) == 1
        code, label = torch.nonzero(table & self._decided[:, None], as_tuple=True)
        # A voxel outside every image gets no label.
        self._decided[OUTSIDE] = True
        self._code_of_class = torch.empty(table.shape[1], dtype=torch.uint8, device=table.device)
        self._code_of_class[label] = code.to(torch.uint8)

    def due(self, step: int) -> bool:
        """Whether it is renewed before `step` of the stage, from 0."""
        return step % self.interval == 0

    def renew(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Takes over a network's weights."""
        self.network.load_state_dict(weights)

    @torch.no_grad()
    def fill(self, image: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Codes (B, z, y, x) of singletons: what is certain, or outside the image, stays; all other voxels get the most
        likely of their candidates.

        `image` (B, 1, z, y, x) is the network's input. Images without an open voxel cost nothing.
        """
        decided = self._decided[codes.long()]
        ambiguous = ~decided.flatten(1).all(1)
        if not ambiguous.any():
            return codes
        filled = codes.clone()
        logits = self.network(image[ambiguous]).movedim(1, -1)
        open_voxels = ~decided[ambiguous]
        allowed = self._table[codes[ambiguous][open_voxels].long()]
        best = logits[open_voxels].float().masked_fill(~allowed, float("-inf")).argmax(1)
        # Indexing with a mask copies, so the images have to be put back.
        images = filled[ambiguous]
        images[open_voxels] = self._code_of_class[best]
        filled[ambiguous] = images
        return filled
