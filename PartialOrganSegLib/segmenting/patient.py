"""What comes before and after the network: where the patient lies in a CT, and from scores to labels on its grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..imaging.body import Body, find_body
from ..imaging.upsampling import NativeLabels
from ..imaging.volume import Volume
from ..imaging.working_grid import WorkingGrid
from ..organs import LabelSpace
from .postprocess import clean
from .scores import best_classes, mean_entropy
from .timing import timed

SURE_LOGIT = 30.0  # of the background, where there is nothing but air


@dataclass(frozen=True)
class Patient:
    """A CT, the same voxels on axes to left, posterior and superior, and the body in these."""

    ct: Volume
    canonical: Volume
    body: Body

    def frame(self, spacing_zyx: tuple[float, float, float]) -> WorkingGrid:
        """The working grid of about `spacing_zyx` mm around the body."""
        return WorkingGrid.of(self.canonical.grid, self.body.box, self.body.midline, spacing_zyx)


def locate(ct: Volume, seconds: dict[str, float]) -> Patient:
    """Finds the patient in a CT; `seconds` receives the time."""
    with timed(seconds, "localise"):
        canonical = ct.canonical()
        return Patient(ct, canonical, find_body(canonical.array, canonical.grid.spacing[::-1]))


def finish(scores: torch.Tensor, patient: Patient, frame: WorkingGrid, label_space: LabelSpace, written: np.ndarray,
           seconds: dict[str, float]) -> tuple[np.ndarray, dict[str, float]]:
    """uint8 labels on the CT's grid and the mean entropy (nats) of each organ found.

    `scores`: float16 logits (z, y, x, class) on `frame`, changed in place. `written` (class count,): the value written
    for each class. `seconds` receives the times.
    """
    with timed(seconds, "clean"):
        if not frame.is_turned:  # a network may call the air around the patient anything
            scores[torch.from_numpy(patient.body.outside(tuple(scores.shape[:3])))] = _background(scores)
        labels = best_classes(scores)
        clean(scores, labels, frame.spacing_zyx, label_space, frame.midline)
        entropy = mean_entropy(scores, labels, label_space.names)
    with timed(seconds, "upsample"):
        native = np.zeros(patient.ct.grid.shape, np.uint8)
        out = patient.ct.grid.axis_order().to_canonical(native)[patient.body.box]
        frame.write(NativeLabels(scores, labels, written), out)
    return native, entropy


def _background(scores: torch.Tensor) -> torch.Tensor:
    """(C,) scores of a voxel that is background for sure."""
    sure = torch.zeros(scores.shape[-1], dtype=scores.dtype)
    sure[0] = SURE_LOGIT
    return sure
