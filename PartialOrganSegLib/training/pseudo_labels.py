"""Pseudo-labels: a snapshot of the network decides what annotations leave open, within what they allow.

For unlabelled images that is EM-like self-training (Bai 2017, the semi-supervised baseline of Zhou 2019); for partial
labels it is the restriction of Zhou 2019, equation 5: an unlabelled voxel gets one of the classes not annotated there.
With a least confidence, voxels of which the snapshot is less sure keep the sets that they have (Sohn 2020, FixMatch),
by bounds that are lower for classes of which it is less sure altogether. These are after FreeMatch (Wang 2023), with
the mean confidence of the voxels taken for a class in place of its mean probability, and a fixed bound of the surest
class.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import nn

from ..annotation import OUTSIDE
from .distributed import Processes

MOMENTUM = 0.99  # of the classes' mean confidence, a mini-batch (FreeMatch: 0.999, in a hundred times as many steps)


class Snapshot:
    """A frozen copy of `network`, renewed every `interval` steps.

    `table` (K, C) bool must hold a singleton for every class. `least_confidence` (0-1): the probability, among its
    candidates, that a voxel's most likely class must have to become its label, where that class is the surest one; 0:
    every voxel gets one. `class_confidence` (C,): the running mean of that probability over the voxels of a class.
    """

    def __init__(self, network: nn.Module, table: torch.Tensor, interval: int, least_confidence: float = 0.0) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.interval, self.least_confidence = interval, least_confidence
        self.class_confidence = torch.ones(table.shape[1], device=table.device)
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
    def fill(self, image: torch.Tensor, codes: torch.Tensor, processes: Processes | None = None) -> torch.Tensor:
        """Codes (B, z, y, x): what is certain, or outside the image, stays; all other voxels get the singleton of the
        most likely of their candidates, as far as the snapshot is sure enough.

        `image` (B, 1, z, y, x) is the network's input. Images without an open voxel cost nothing. `processes` have a
        part of the mini-batch each, and the classes' confidence is that of all of it.
        """
        decided = self._decided[codes.long()]
        ambiguous = ~decided.flatten(1).all(1)
        if not ambiguous.any():
            if self.least_confidence:
                self._carry_on(codes.new_zeros(0).long(), self.class_confidence.new_zeros(0), processes)
            return codes
        filled = codes.clone()
        logits = self.network(image[ambiguous]).movedim(1, -1)
        # Indexing with a mask copies, so the images have to be put back.
        images = filled[ambiguous]
        open_voxels = ~decided[ambiguous]
        open_codes = images[open_voxels]
        allowed = self._table[open_codes.long()]
        candidates = logits[open_voxels].float().masked_fill(~allowed, float("-inf"))
        best = candidates.argmax(1)
        labels = self._code_of_class[best]
        if self.least_confidence:
            confidence = torch.softmax(candidates, dim=1).gather(1, best[:, None]).squeeze(1)
            self._carry_on(best, confidence, processes)
            bounds = self.least_confidence * self.class_confidence / self.class_confidence.max()
            labels = torch.where(confidence >= bounds[best], labels, open_codes)
        images[open_voxels] = labels
        filled[ambiguous] = images
        return filled

    def _carry_on(self, best: torch.Tensor, confidence: torch.Tensor, processes: Processes | None) -> None:
        """Takes a mini-batch into `class_confidence`: its voxels' most likely classes (N,) and their probabilities
        (N,). A class without a voxel keeps its value."""
        sums = confidence.new_zeros(2, len(self.class_confidence))
        sums[0].index_add_(0, best, confidence)
        sums[1].index_add_(0, best, torch.ones_like(confidence))
        if processes is not None:
            sums = processes.sum(sums)
        means = torch.where(sums[1] > 0, sums[0] / sums[1].clamp_min(1), self.class_confidence)
        self.class_confidence.lerp_(means, 1 - MOMENTUM)
