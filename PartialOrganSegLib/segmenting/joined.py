"""Prediction with a joined model: each network at its own spacing, combined by candidate sets (`models.joined`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..events import Reporter
from ..imaging.frame import Frame
from ..imaging.linear import linear_slices
from ..imaging.volume import Volume
from ..models.bundle import Bundle
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
        self._members = [_Member(member.bundle, member.organs, bundle, device, mirror, scales, precision)
                         for member in bundle.members]
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
            member.share_out(patient, frame, joined, left, seconds, reporter)
        with timed(seconds, "join"):
            for z in range(frame.shape[0]):
                joined[z, ..., 0] = left[z].float().clamp_min_(LEAST_PROBABILITY).log_()
        del left
        return finish(joined, patient, frame, self._space, written, seconds)


class _Member:
    """One network, and where its organs stand among its own classes and among those of the joined model."""

    def __init__(self, bundle: Bundle, organs: Sequence[str], whole: Bundle, device: torch.device, mirror: bool,
                 scales: Sequence[float], precision: str) -> None:
        self.method: OwnMethod | NNUNetMethod
        if bundle.nnunet is None:
            self.method = OwnMethod(bundle, device, mirror, scales, precision)
        else:
            self.method = NNUNetMethod(bundle, device, mirror, precision)
        self.precision = self.method.precision
        self._classes = list(bundle.label_space.indices(organs))
        self._columns = list(whole.label_space.indices(organs))

    def share_out(self, patient: Patient, frame: Frame, joined: torch.Tensor, left: torch.Tensor,
                  seconds: dict[str, float], reporter: Reporter) -> None:
        """Writes the logarithms of its organs' probabilities into `joined` (z, y, x, class) and takes them from `left`.

        `left` (z, y, x): the probability of what no earlier member knows, afterwards of what this one does not either.
        """
        grid = patient.canonical.grid
        if isinstance(self.method, NNUNetMethod):
            scores, to_patient = self.method.scores(patient.ct, seconds, reporter)
        else:
            own = patient.frame(self.method.spacing_zyx)
            scores, to_patient = self.method.scores(patient, own, seconds, reporter), own.to_patient(grid)
        with timed(seconds, "join"):
            for plane in scores:  # of the softmax only this network's organs are read
                plane.copy_(torch.softmax(plane.float(), -1))
            organs = scores[..., self._classes]
            del scores
            to_values = np.linalg.inv(to_patient) @ frame.to_patient(grid)
            same = organs.shape[:3] == frame.shape and np.allclose(to_values, np.eye(4), atol=1e-6)
            slices = organs if same else linear_slices(organs, to_values, frame.shape)
            for z, part in enumerate(slices):
                part, before = part.float(), left[z].float()
                joined[z][..., self._columns] = (part * before[..., None]).clamp_min_(LEAST_PROBABILITY).log_().half()
                left[z] = before * (1 - part.sum(-1)).clamp_min_(0)
