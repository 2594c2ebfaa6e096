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
from .timing import timed

# Below this probability a class is as good as impossible; its logarithm still fits into half precision.
LEAST_PROBABILITY = 1e-6


class JoinedMethod:
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
        """uint8 labels on the CT's grid and the mean entropy of each organ found; see `OwnMethod.segment`."""
        patient = locate(ct, seconds)
        frame = patient.frame(self._spacing_zyx)
        joined: JoinedScores | None = None
        for member in self._members:
            shares = member.shares(patient, frame.to_patient(patient.canonical.grid), frame.shape, seconds, reporter)
            with timed(seconds, "join"):
                if joined is None:  # not before the first network is done: it needs the memory
                    joined = JoinedScores(frame.shape, self._space.class_count)
                joined.add(self._space.indices(member.organs), shares)
            del shares
        assert joined is not None
        return finish(joined.logits, patient, frame, self._space, written, seconds, joined.decided)


class JoinedScores:
    """The scores of a joined model, filled member by member.

    `logits`: float16 logarithms of probabilities (z, y, x, class); `decided`: bool (z, y, x), where any member spoke.
    Elsewhere lies background.
    """

    def __init__(self, shape: Shape3, class_count: int) -> None:
        self.logits = torch.full((*shape, class_count), float(np.log(LEAST_PROBABILITY)), dtype=torch.float16)
        self.logits[..., 0] = 0
        self.decided = np.zeros(shape, bool)
        # The probability that no member has given to an organ yet, which the next one shares out.
        self._remaining = torch.ones(shape, dtype=torch.float16)

    def add(self, columns: Sequence[int], shares: Iterable[SliceShares]) -> None:
        """Gives the classes `columns` their shares of what the members before have left."""
        columns = list(columns)
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
