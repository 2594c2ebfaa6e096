"""What comes before and after the network: where the patient lies in a CT, and from scores to labels on its grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ..imaging.body import Body, find_body
from ..imaging.masks import widened
from ..imaging.shapes import LabelMap, Spacing3
from ..imaging.upsampling import NativeLabels
from ..imaging.volume import Volume
from ..imaging.working_grid import WorkingGrid
from ..organs import LabelSpace
from .postprocess import remove_stray_components
from .scores import best_classes, mean_entropy, slices_to_draw
from .sparse_scores import Scores, SparseScores, put_rows
from .timing import timed

SURE_LOGIT = 30.0  # of the background, where there is nothing but air


@dataclass(frozen=True)
class Patient:
    """A CT, the same voxels on axes to left, posterior and superior, and the body in these."""

    ct: Volume
    canonical: Volume
    body: Body

    def working_grid(self, spacing_zyx: Spacing3) -> WorkingGrid:
        """The working grid of about `spacing_zyx` mm around the body."""
        return WorkingGrid.of(self.canonical.grid, self.body.box, self.body.midline, spacing_zyx)


def locate(ct: Volume, seconds: dict[str, float]) -> Patient:
    """Finds the patient in a CT; `seconds` receives the time."""
    with timed(seconds, "localise"):
        canonical = ct.canonical()
        return Patient(ct, canonical, find_body(canonical.array, canonical.grid.spacing[::-1]))


def finish(scores: Scores, patient: Patient, grid: WorkingGrid, label_space: LabelSpace,
           written: npt.NDArray[np.uint8], seconds: dict[str, float]) -> tuple[LabelMap, dict[str, float]]:
    """uint8 labels on the CT's grid and the mean entropy (nats) of each organ found, an `OrganEntropy`.

    `scores`: logits on `grid`, changed in place. `written` (class count,): the value written for each class. `seconds`
    receives the times.
    """
    with timed(seconds, "clean"):
        labels = best_classes(scores)
        if not grid.is_turned:  # a network may call the air around the patient anything
            _clear_outside(scores, labels, patient.body, label_space.class_count)
        remove_stray_components(scores, labels, grid.spacing_zyx, label_space, grid.midline)
        entropy = mean_entropy(scores, labels, label_space.names)
        to_patient = grid.to_patient(patient.canonical.grid)
        for organ, number in slices_to_draw(scores, labels, label_space.names, grid.spacing_zyx[0]).items():
            y, x = np.argwhere(labels[number] == label_space.index(organ)).mean(axis=0).tolist()
            entropy.to_draw[organ] = float((to_patient @ [number, y, x, 1])[2])
    with timed(seconds, "upsample"):
        native = np.zeros(patient.ct.grid.shape, np.uint8)
        out = patient.ct.grid.axis_order().to_canonical(native)[patient.body.box]
        grid.write(_native_labels(scores, labels, written), out)
    return native, entropy


def _native_labels(scores: Scores, labels: npt.NDArray[np.uint8], written: npt.NDArray[np.uint8]) -> NativeLabels:
    if isinstance(scores, SparseScores):
        return NativeLabels(scores.table, labels, written, row_of=scores.row_of)
    return NativeLabels(scores, labels, written)


def _clear_outside(scores: Scores, labels: LabelMap, body: Body, class_count: int) -> None:
    """Makes background of all voxels outside of the body, in place.

    Their scores are changed only where they are read: beside an organ.
    """
    outside = body.outside(labels.shape)
    labels[outside] = 0
    depth, height, width = labels.shape
    sure = torch.zeros(class_count, dtype=torch.float16)
    sure[0] = SURE_LOGIT
    put_rows(scores, (slice(0, depth), slice(0, height), slice(0, width)),
             outside & widened(labels > 0, (1, 1, 1)), sure)
