"""Prediction with a joined model: each network at its own spacing, combined by candidate sets (`models.joined`).

An organ fills a small part of a CT. Probabilities are combined only where a network sees one of its organs, and around
(`member_predictor`); everything else is background.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from ..events import Reporter
from ..imaging.shapes import LabelMap, Shape3, Spacing3
from ..imaging.volume import Volume
from ..models.bundle import Bundle
from .member_predictor import MemberPredictor, SliceShares
from .patient import finish, locate
from .scores import LEAST_PROBABILITY
from .timing import timed


class JoinedPredictor:
    """Prediction with several networks; see `Predictor`. They are combined on the finest of our own working grids."""

    def __init__(self, bundle: Bundle, device: torch.device, mirror: bool, scales: Sequence[float],
                 precision: str = "auto") -> None:
        self._space = bundle.label_space
        self._members = [MemberPredictor(member, device, mirror, scales, precision) for member in bundle.members]
        self.precision = self._members[0].precision
        spacings = [member.bundle.preprocessing.spacing_zyx for member in bundle.members
                    if member.bundle.nnunet is None]
        spacings = spacings or [member.bundle.preprocessing.spacing_zyx for member in bundle.members]
        self._spacing_zyx: Spacing3 = min(spacings, key=lambda mm: float(np.prod(mm)))

    @property
    def threads(self) -> int:
        """Threads of the networks."""
        return self._members[0].method.threads

    @threads.setter
    def threads(self, count: int) -> None:
        for member in self._members:
            member.method.threads = count

    def segment(self, ct: Volume, written: npt.NDArray[np.uint8], seconds: dict[str, float],
                reporter: Reporter) -> tuple[LabelMap, dict[str, float]]:
        """uint8 labels on the CT's grid and the mean entropy of each organ found; see `BundlePredictor.segment`."""
        patient = locate(ct, seconds)
        grid = patient.working_grid(self._spacing_zyx)
        joined = JoinedScores(grid.shape, self._space.class_count)
        for member in self._members:
            shares = member.shares(patient, grid.to_patient(patient.canonical.grid), grid.shape, seconds, reporter)
            with timed(seconds, "join"):
                joined.add(self._space.indices(member.organs), shares)
        return finish(joined.logits, patient, grid, self._space, written, seconds, joined.decided)


class JoinedScores:
    """The scores of a joined model, filled member by member.

    `logits`: float16 logarithms of probabilities (z, y, x, class), background where no member sees an organ. `decided`:
    bool (z, y, x), where one does.
    """

    def __init__(self, shape: Shape3, class_count: int) -> None:
        # Takes memory once it is written to, which is after the first network needed it.
        self.logits = torch.empty((*shape, class_count), dtype=torch.float16)
        self._is_written = False
        self.decided = np.zeros(shape, bool)
        # The probability that no member has given to an organ yet: the next one shares it out.
        self._remaining = torch.ones(shape, dtype=torch.float16)

    def add(self, classes: Sequence[int], shares: Iterable[SliceShares]) -> None:
        """Gives to `classes`, a member's organs, their shares of what the members before have left."""
        columns = list(classes)
        if not self._is_written:
            self.logits.fill_(float(np.log(LEAST_PROBABILITY)))
            self.logits[..., 0] = 0
            self._is_written = True
        for z, (voxels, probabilities) in enumerate(shares):
            if not len(voxels):
                continue
            logits, remaining = self.logits[z].flatten(0, 1), self._remaining[z].flatten()
            before = remaining[voxels].float()
            after = (before * (1 - probabilities.sum(1)).clamp_min_(0)).half()
            remaining[voxels] = after
            rows = logits.index_select(0, voxels)  # of all classes: written back in one piece
            rows[:, columns] = (probabilities * before[:, None]).clamp_min_(LEAST_PROBABILITY).log_().half()
            rows[:, 0] = after.float().clamp_min_(LEAST_PROBABILITY).log_().half()
            logits.index_copy_(0, voxels, rows)
            self.decided[z].reshape(-1)[voxels.numpy()] = True
