"""Prediction with a joined model: each network at its own spacing, combined by candidate sets (`models.joined`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from ..events import Reporter
from ..imaging.linear import linear_slices
from ..imaging.volume import Volume
from ..imaging.working_grid import WorkingGrid
from ..models.bundle import Bundle, Member
from .bundle_predictor import OwnMethod
from .nnunet.predictor import NNUNetMethod
from .patient import Patient, finish, locate
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
        self._spacing_zyx = min(spacings, key=lambda mm: float(np.prod(mm)))

    @property
    def threads(self) -> int:
        """Threads of the networks."""
        return self._members[0].method.threads

    @threads.setter
    def threads(self, count: int) -> None:
        for member in self._members:
            member.method.threads = count

    def segment(self, ct: Volume, written: np.ndarray, seconds: dict[str, float],
                reporter: Reporter) -> tuple[np.ndarray, dict[str, float]]:
        """uint8 labels on the CT's grid and the mean entropy of each organ found; see `OwnMethod.segment`."""
        patient = locate(ct, seconds)
        frame = patient.frame(self._spacing_zyx)
        joined = torch.empty(*frame.shape, self._space.class_count, dtype=torch.float16)
        left = torch.ones(frame.shape, dtype=torch.float16)  # the probability that no member has spoken for yet
        for member in self._members:
            self._share_out(member, patient, frame, joined, left, seconds, reporter)
        with timed(seconds, "join"):
            for z in range(frame.shape[0]):
                joined[z, ..., 0] = left[z].float().clamp_min_(LEAST_PROBABILITY).log_()
        del left
        return finish(joined, patient, frame, self._space, written, seconds)

    def _share_out(self, member: MemberPredictor, patient: Patient, frame: WorkingGrid, joined: torch.Tensor,
                   left: torch.Tensor, seconds: dict[str, float], reporter: Reporter) -> None:
        """Writes the logarithms of a member's probabilities into `joined` (z, y, x, class), takes them from `left`.

        `left` (z, y, x): the probability of what no earlier member knows, afterwards of what this one does not either.
        """
        columns = list(self._space.indices(member.organs))
        slices = member.probabilities(patient, frame.to_patient(patient.canonical.grid), frame.shape, seconds, reporter)
        with timed(seconds, "join"):
            for z, part in enumerate(slices):
                part, before = part.float(), left[z].float()
                joined[z][..., columns] = (part * before[..., None]).clamp_min_(LEAST_PROBABILITY).log_().half()
                left[z] = before * (1 - part.sum(-1)).clamp_min_(0)


class MemberPredictor:
    """One network of a joined model, asked for the organs that it has the say of."""

    def __init__(self, member: Member, device: torch.device, mirror: bool = False, scales: Sequence[float] = (1.0,),
                 precision: str = "auto") -> None:
        bundle, self.organs = member.bundle, member.organs
        self.method: OwnMethod | NNUNetMethod
        if bundle.nnunet is None:
            self.method = OwnMethod(bundle, device, mirror, scales, precision)
        else:
            self.method = NNUNetMethod(bundle, device, mirror, precision)
        self.precision = self.method.precision
        self._classes = list(bundle.label_space.indices(member.organs))

    def probabilities(self, patient: Patient, to_patient: np.ndarray, shape: tuple[int, int, int],
                      seconds: dict[str, float], reporter: Reporter) -> Iterable[torch.Tensor]:
        """(y, x, organ) of each slice z of a grid of `shape` (z, y, x): what each of `organs` has of the voxels.

        `to_patient` (4, 4): index (z, y, x, 1) on that grid to LPS millimetres (x, y, z, 1).
        """
        grid = patient.canonical.grid
        if isinstance(self.method, NNUNetMethod):
            scores, own_to_patient = self.method.scores(patient.ct, seconds, reporter)
        else:
            own = patient.frame(self.method.spacing_zyx)
            scores, own_to_patient = self.method.scores(patient, own, seconds, reporter), own.to_patient(grid)
        with timed(seconds, "join"):
            organs = torch.empty(*scores.shape[:3], len(self._classes), dtype=scores.dtype)
            for plane, own_organs in zip(scores, organs, strict=True):
                # With the classes first: over a last axis as short as this the softmax takes five times as long.
                shares = torch.softmax(plane.permute(2, 0, 1).float().contiguous(), 0)
                own_organs.copy_(shares[self._classes].permute(1, 2, 0))
            del scores
            to_values = np.linalg.inv(own_to_patient) @ to_patient
            same = organs.shape[:3] == shape and np.allclose(to_values, np.eye(4), atol=1e-6)
        return organs if same else linear_slices(organs, to_values, shape)
