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
from .cores import Threads
from .member_predictor import MemberPredictor, SliceShares
from .patient import finish, locate
from .scores import LEAST_PROBABILITY
from .sparse_scores import ScoreTable, SparseScores
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
    def threads(self) -> Threads:
        """Threads of the networks."""
        return self._members[0].method.threads

    @threads.setter
    def threads(self, count: Threads) -> None:
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
            del shares  # as much memory as a CT, which the next network needs
        with timed(seconds, "join"):
            scores = joined.scores()
        return finish(scores, patient, grid, self._space, written, seconds)


class JoinedScores:
    """The scores of a joined model, filled member by member: logarithms of probabilities, background where no member
    sees an organ."""

    def __init__(self, shape: Shape3, class_count: int) -> None:
        background = torch.full((class_count,), float(np.log(LEAST_PROBABILITY)), dtype=torch.float16)
        background[0] = 0
        self._table = ScoreTable(shape, background)
        # The probability that no member has given to an organ yet: the next one shares it out.
        self._remaining = torch.ones(shape, dtype=torch.float16)

    def add(self, classes: Sequence[int], shares: Iterable[SliceShares]) -> None:
        """Gives to `classes`, a member's organs, their shares of what the members before have left."""
        columns = list(classes)
        for z, (voxels, probabilities) in enumerate(shares):
            if not len(voxels):
                continue
            rows, numbers = self._table.rows(z, voxels)
            remaining = self._remaining[z].flatten()
            before = remaining[voxels].float()
            after = (before * (1 - probabilities.sum(1)).clamp_min_(0)).half()
            remaining[voxels] = after
            changed = rows.index_select(0, numbers)  # of all classes: written back in one piece
            changed[:, columns] = (probabilities * before[:, None]).clamp_min_(LEAST_PROBABILITY).log_().half()
            changed[:, 0] = after.float().clamp_min_(LEAST_PROBABILITY).log_().half()
            rows.index_copy_(0, numbers, changed)

    def scores(self) -> SparseScores:
        """Those of all voxels; once, as the memory that they were filled in goes."""
        return self._table.scores()
