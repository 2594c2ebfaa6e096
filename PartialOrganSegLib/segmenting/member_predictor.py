"""One network of a joined model: what it gives to the organs that it has the say of, where it sees any.

An organ fills a small part of a CT. Softmax and interpolation are computed only where some organ has a probability
worth counting, and one voxel around. These are all the voxels that labels are read from: those of an organ, and those
between which and an organ its border runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import torch

from ..events import Reporter
from ..imaging.linear import LinearReader, reach, read_near
from ..imaging.masks import widened
from ..imaging.shapes import Affine, Mask, Shape3
from ..models.bundle import Member
from .bundle_predictor import BundlePredictor
from .nnunet.predictor import NNUNetPredictor
from .patient import Patient
from .timing import timed

# The likeliest of C classes has a probability of at least 1 / C. Where every organ has less than this part of that, the
# voxel counts as none of theirs. Together they have less than a tenth of it, which goes to the background and the
# members after: it decides a label only between classes whose probabilities are within a tenth of each other.
FAINT = 0.1

SliceShares: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""int64 (n,) flat indices of voxels of a slice, ascending, and float32 (n, organ) probabilities there."""


class MemberPredictor:
    """One network of a joined model, asked for the organs that it has the say of."""

    def __init__(self, member: Member, device: torch.device, mirror: bool = False, scales: Sequence[float] = (1.0,),
                 precision: str = "auto") -> None:
        bundle, self.organs = member.bundle, member.organs
        self.method: BundlePredictor | NNUNetPredictor
        if bundle.nnunet is None:
            self.method = BundlePredictor(bundle, device, mirror, scales, precision)
        else:
            self.method = NNUNetPredictor(bundle, device, mirror, precision)
        self.precision = self.method.precision
        self._classes = list(bundle.label_space.indices(member.organs))

    def shares(self, patient: Patient, to_patient: Affine, shape: Shape3, seconds: dict[str, float],
               reporter: Reporter) -> list[SliceShares]:
        """For each slice z of a grid of `shape` (z, y, x) the voxels near any of `organs`, and what each has of them.

        `to_patient`: index (z, y, x, 1) on that grid to LPS millimetres (x, y, z, 1).
        """
        if isinstance(self.method, NNUNetPredictor):
            scores, scores_to_patient = self.method.scores(patient.ct, seconds, reporter)
        else:
            grid = patient.working_grid(self.method.spacing_zyx)
            scores = self.method.scores(patient, grid, seconds, reporter)
            scores_to_patient = grid.to_patient(patient.canonical.grid)
        with timed(seconds, "join"):
            to_scores = np.linalg.inv(scores_to_patient) @ to_patient
            audible = self._audible(scores)
            if scores.shape[:3] == shape and np.allclose(to_scores, np.eye(4), atol=1e-6):
                return self._on_the_same_grid(scores, widened(audible, (1, 1, 1)))
            near = read_near(audible, to_scores, shape)
            corners = widened(audible, [distance + 1 for distance in reach(to_scores)])
            return self._on_another_grid(scores, corners, to_scores, near)

    def probabilities(self, patient: Patient, to_patient: Affine, shape: Shape3, seconds: dict[str, float],
                      reporter: Reporter) -> Iterator[torch.Tensor]:
        """float32 (y, x, organ) of each slice, 0 where no organ is near; see `shares`."""
        for voxels, probabilities in self.shares(patient, to_patient, shape, seconds, reporter):
            plane = torch.zeros(shape[1] * shape[2], len(self._classes))
            plane[voxels] = probabilities
            yield plane.unflatten(0, shape[1:])

    def _audible(self, scores: torch.Tensor) -> Mask:
        """bool (z, y, x): where any of the organs may have a probability of more than `FAINT` / C."""
        faint_logit = float(np.log(FAINT / scores.shape[-1]))
        audible = np.zeros(scores.shape[:3], bool)
        for z, plane in enumerate(scores):
            # With the classes first: a last axis as short as this takes many times as long.
            by_class = plane.permute(2, 0, 1).float().contiguous()
            # A probability is at most exp(its logit - the largest logit).
            audible[z] = by_class[self._classes].amax(0) > by_class.amax(0) + faint_logit
        return audible

    def _shares_of(self, scores: torch.Tensor, voxels: torch.Tensor) -> torch.Tensor:
        """float32 (n, organ) at the flat indices `voxels` (n,) of a slice of scores (y, x, class)."""
        rows = scores.flatten(0, 1).index_select(0, voxels).float()
        return torch.softmax(rows.t().contiguous(), 0)[self._classes].t()

    def _on_the_same_grid(self, scores: torch.Tensor, near: Mask) -> list[SliceShares]:
        slices = []
        for z, plane in enumerate(scores):
            voxels = torch.from_numpy(np.flatnonzero(near[z]))
            slices.append((voxels, self._shares_of(plane, voxels)))
        return slices

    def _on_another_grid(self, scores: torch.Tensor, corners: Mask, to_scores: Affine, near: Mask
                         ) -> list[SliceShares]:
        """Read at the voxels `near`; `corners`: at least all voxels of `scores` that lie around these."""
        row_of = np.zeros(corners.shape, np.int32)
        row_of[corners] = np.arange(np.count_nonzero(corners))
        stored = self._on_the_same_grid(scores, corners)
        reader = LinearReader(torch.cat([probabilities for _, probabilities in stored]), row_of, to_scores)
        slices = []
        for z, plane in enumerate(near):
            y, x = np.nonzero(plane)
            slices.append((torch.from_numpy(y * plane.shape[1] + x), reader.read(z, y, x)))
        return slices
