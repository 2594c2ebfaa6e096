"""What the model's network says of a region of a CT, computed when a stroke is drawn there and kept for the next one.

A region is one window or a few of one network, so it is there in about a second where the whole CT takes a minute.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..events import Reporter
from ..imaging.body import Body
from ..imaging.shapes import Affine, Box3, Shape3, Spacing3
from ..imaging.volume import Volume
from ..models.bundle import Bundle
from ..segmenting.backend import choose_device
from ..segmenting.bundle_predictor import BundlePredictor
from ..segmenting.patient import Patient
from ..segmenting.threads import threads
from .coarse import Values
from .regions import padded_box

ROUND_MM = 20.0  # around a region, so that the next stroke beside it finds its scores there already
KEPT = 3  # regions; each takes some 20 MB


@dataclass(frozen=True)
class _Scored:
    """Scores (1, class, z, y, x) of a box of native voxels, the two highest of each voxel, and index (z, y, x, 1) in them
    to LPS mm."""

    box: Box3
    scores: torch.Tensor
    best: torch.Tensor
    to_patient: Affine

    def margin(self, value: int) -> torch.Tensor:
        """(1, z, y, x) float32: the logit of a class less the highest other one."""
        scores, best = self.scores[:, value].float(), self.best.float()
        # Where the class itself is the highest, the second is the highest other one.
        return scores - torch.where(scores >= best[:, 0], best[:, 1], best[:, 0])


class NetworkScores:
    """A network's scores of regions of one CT."""

    def __init__(self, bundle: Bundle, ct: Volume, device: str = "auto") -> None:
        """`bundle`: one that `scoring_network` gave. Raises UserError for unfitting weights or an absent device."""
        self._method = BundlePredictor(bundle, choose_device(device), mirror=False, scales=(1.0,))
        self._patient = Patient(ct, ct.canonical(), Body((slice(0), slice(0), slice(0)), None, np.zeros((0, 0, 0), bool),
                                                         (1, 1, 1)))
        z, y, x = ct.grid.spacing[::-1]
        self._spacing: Spacing3 = (z, y, x)
        self._regions: list[_Scored] = []

    def margin(self, box: Box3, block: Shape3, value: int) -> Values:
        """The logit of class `value` less the highest other one, at the centres of blocks of a box of native voxels.

        `box` (z, y, x) in the CT's array; `block` (z, y, x) voxels, the last one of an axis may be cut short.
        """
        scored = self._scored(box)
        margin = scored.margin(value)
        shape = [-(-(part.stop - part.start) // length) for part, length in zip(box, block, strict=True)]
        to_index = np.eye(4)  # from a block's number (z, y, x, 1) to its centre's native index
        for axis, (part, length) in enumerate(zip(box, block, strict=True)):
            to_index[axis, axis] = length
            to_index[axis, 3] = part.start + (length - 1) / 2
        # A grid's matrix takes (x, y, z, 1).
        reversed_axes = np.eye(4)[[2, 1, 0, 3]]
        to_scores = np.linalg.inv(scored.to_patient) @ self._patient.ct.grid.matrix @ reversed_axes @ to_index
        return _read(margin, to_scores, (shape[0], shape[1], shape[2]))

    def _scored(self, box: Box3) -> _Scored:
        for number, scored in enumerate(self._regions):
            if all(outer.start <= inner.start and inner.stop <= outer.stop
                   for inner, outer in zip(box, scored.box, strict=True)):
                self._regions.append(self._regions.pop(number))
                return scored
        scored = self._compute(padded_box(box, ROUND_MM, self._spacing, self._patient.ct.array.shape))
        self._regions = [*self._regions, scored][-KEPT:]
        return scored

    @torch.inference_mode()
    def _compute(self, box: Box3) -> _Scored:
        patient = self._patient
        canonical_box = _canonical_box(box, patient.ct)
        region = Patient(patient.ct, patient.canonical, Body(canonical_box, None, patient.body.inside, (1, 1, 1)))
        grid = region.working_grid(self._method.spacing_zyx)
        with threads(1):
            scores = self._method.scores(region, grid, {}, Reporter())
        best = scores.topk(2, dim=-1).values.permute(3, 0, 1, 2)[None].contiguous()
        by_class = scores.permute(3, 0, 1, 2)[None].contiguous()
        return _Scored(box, by_class, best, grid.to_patient(patient.canonical.grid))


def scoring_network(bundle: Bundle) -> Bundle | None:
    """The model whose network can be asked for scores of all organs: of a joined one the finest such member.

    None where there is none, or where it is not ours to run on a region: nnU-Net's may normalise by the whole CT.
    """
    candidates = bundle.one_network_each[:1]
    if bundle.members:
        candidates = tuple(member.bundle for member in bundle.members)
    fitting = []
    for candidate in candidates:
        if candidate.nnunet is None and candidate.label_space.names == bundle.label_space.names:
            fitting.append(candidate)
    return min(fitting, key=lambda one: float(np.prod(one.preprocessing.spacing_zyx)), default=None)


def _canonical_box(box: Box3, ct: Volume) -> Box3:
    """The same voxels in `ct.canonical()`."""
    order = ct.grid.axis_order()
    parts = []
    for patient_axis in (2, 1, 0):  # z, y, x
        voxel_axis = order.permutation[patient_axis]
        part, size = box[2 - voxel_axis], ct.grid.size[voxel_axis]
        if order.flips[patient_axis]:
            part = slice(size - part.stop, size - part.start)
        parts.append(part)
    return parts[0], parts[1], parts[2]


def _read(values: torch.Tensor, to_values: Affine, shape: Shape3) -> Values:
    """(z, y, x) of `shape`: `values` (1, z, y, x) read linearly; beyond their outermost voxels these count."""
    size = torch.tensor(values.shape[1:], dtype=torch.float64)
    matrix = torch.from_numpy(np.ascontiguousarray(to_values))
    z, y, x = torch.meshgrid(*(torch.arange(length).double() for length in shape), indexing="ij")
    index = torch.stack([z, y, x, torch.ones_like(z)], -1) @ matrix[:3].T
    # grid_sample counts from -1 to 1 between the edges of an axis, x first.
    places = ((index * 2 + 1) / size - 1).flip(-1).float()
    read = F.grid_sample(values[None], places[None], padding_mode="border", align_corners=False)
    return np.asarray(read[0, 0].numpy(), np.float32)
