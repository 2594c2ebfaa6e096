"""Segments a CT the way nnU-Net v2 does, for imported models: same crop, spacing, windows and labels.

Follows Isensee et al., Nature Methods 2021, and the settings in the model's `plans.json`. Differs in memory: the scores
of all classes exist at working spacing only, in half precision; native labels are read from them piece by piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ...events import Reporter
from ...imaging.shapes import Affine, Box3, LabelMap, Spacing3, VoxelArray
from ...imaging.upsampling import NativeLabels
from ...imaging.volume import Volume
from ...models.bundle import Bundle
from ...models.metadata import NNUNetEntry
from ...networks.nnunet_v2 import NNUNetV2
from ...networks.precision import computing_in
from ..backend import choose_precision
from ..cores import Threads
from ..scores import best_classes, mean_entropy, mean_logits
from ..threads import threads
from ..timing import Stopwatch, timed
from .normalisation import Normalised
from .resampling import places, resample, target_shape, thick_axis
from .windows import window_scores


class NNUNetPredictor:
    """nnU-Net's prediction with a bundle's network, or with the mean logits of an ensemble's; see `Predictor`."""

    def __init__(self, bundle: Bundle, device: torch.device, mirror: bool, precision: str = "auto") -> None:
        """`mirror` averages over the mirrorings that the model was trained with, up to eight times the work."""
        assert bundle.nnunet is not None
        self._settings, self._preprocessing = bundle.nnunet, bundle.preprocessing
        self._space, self._device = bundle.label_space, device
        self._networks = [cast(NNUNetV2, network.load_network(device)).own_axes for network in bundle.one_network_each]
        self.threads = Threads(torch.get_num_threads())  # of the network alone
        self.precision = choose_precision(precision, device, bundle.precision)
        self._mirrorings: list[list[int]] = [[]]  # the axes of the network's input that each flips; the first none
        if mirror:
            self._mirrorings = _subsets(self._settings.mirror_axes, 5 - len(self._settings.patch))

    def segment(self, ct: Volume, written: npt.NDArray[np.uint8], seconds: dict[str, float],
                reporter: Reporter) -> tuple[LabelMap, dict[str, float]]:
        """uint8 labels on the CT's grid and the mean entropy of each organ that is there.

        `written` (class count,): the value written for each class. `seconds` receives the stages' times.
        """
        with timed(seconds, "localise"):
            hu, spacing = _on_nnunet_axes(ct, self._settings)
            box = _nonzero_box(hu)
            native = np.zeros(ct.grid.shape, np.uint8)
            out = _on_nnunet_axes(Volume(native, ct.grid), self._settings)[0][box]
        scores = self._scores(hu[box], spacing, seconds, reporter)
        with timed(seconds, "upsample"):
            labels = best_classes(scores)
            entropy = dict(mean_entropy(scores, labels, self._space.names))
            _write(scores, labels, written, out, thick_axis(self._working(spacing), spacing, self._settings.separate_z))
        return native, entropy

    def scores(self, ct: Volume, seconds: dict[str, float], reporter: Reporter) -> tuple[torch.Tensor, Affine]:
        """float16 logits (three axes, class) at the model's spacing, and (4, 4) where they lie.

        The matrix takes an index along these three axes (and 1) to LPS millimetres (x, y, z, 1).
        """
        with timed(seconds, "localise"):
            hu, spacing = _on_nnunet_axes(ct, self._settings)
            box = _nonzero_box(hu)
        scores = self._scores(hu[box], spacing, seconds, reporter)
        ratio = np.array([part.stop - part.start for part in box]) / np.array(scores.shape[:3])
        to_native = np.diag([*ratio, 1.0])
        to_native[:3, 3] = (ratio - 1) / 2 + [part.start for part in box]
        return scores, _nnunet_axes_to_patient(ct, self._settings) @ to_native

    def _working(self, spacing: Spacing3) -> Spacing3:
        """Working spacing in mm on nnU-Net's axes: slices of a 2D network stay as far apart as they are."""
        *through, row, column = self._settings.spacing
        if not through:
            return spacing[0], row, column
        return through[0], row, column

    def _scores(self, hu: VoxelArray, spacing: Spacing3, seconds: dict[str, float],
                reporter: Reporter) -> torch.Tensor:
        """float16 logits (three axes, class) of HU on nnU-Net's axes, at the model's spacing."""
        settings, working = self._settings, self._working(spacing)
        with timed(seconds, "resample"):
            thick = thick_axis(spacing, working, settings.separate_z)
            volume = resample(hu.shape, target_shape(hu.shape, spacing, working),
                              Normalised(hu, settings, self._preprocessing, thick or 0).slab,
                              settings.order, settings.order_z, thick)
        scores = (self._scores_of(network, volume, seconds, reporter) for network in self._networks)
        if len(self._networks) == 1:
            return next(scores)
        return mean_logits(scores, len(self._networks))

    def _scores_of(self, network: nn.Module, volume: torch.Tensor, seconds: dict[str, float],
                   reporter: Reporter) -> torch.Tensor:
        """float16 logits (three axes, class) of one network on the whole volume."""
        settings = self._settings
        with timed(seconds, "windows"):
            forward = Stopwatch(lambda window: self._logits(network, window))
            scores = window_scores(volume, tuple(settings.patch), settings.step, self._space.class_count, forward,
                                   reporter)
        seconds["forward"] = seconds.get("forward", 0.0) + forward.seconds
        seconds["windows"] -= forward.seconds
        return scores

    def _logits(self, network: nn.Module, window: torch.Tensor) -> torch.Tensor:
        """(1, 1, *window) network input to logits (*window, class) on the CPU."""
        data = window.to(self._device)
        with threads(self.threads.on_a_window), computing_in(self._device, self.precision):
            total: torch.Tensor = network(data)
            for axes in self._mirrorings[1:]:
                total = total + network(data.flip(axes)).flip(axes)
        return (total / len(self._mirrorings))[0].permute(1, 2, 3, 0).cpu()


def _subsets(axes: Sequence[int], first: int) -> list[list[int]]:
    """Every choice of none, some or all of the `axes`, each counted from dimension `first` of a network's input."""
    subsets = []
    for count in range(len(axes) + 1):
        for chosen in combinations(axes, count):
            subsets.append([first + axis for axis in chosen])
    return subsets


def _on_nnunet_axes(volume: Volume, settings: NNUNetEntry) -> tuple[VoxelArray, Spacing3]:
    """View of a volume's array on nnU-Net's axes, and the spacing (mm) along them."""
    if settings.orientation != "stored":
        volume = volume.canonical()
    array, spacing = volume.array, volume.grid.spacing[::-1]
    if settings.orientation == "RAS":
        array = array[:, ::-1, ::-1]
    first, second, third = settings.transpose
    return array.transpose(settings.transpose), (spacing[first], spacing[second], spacing[third])


def _nnunet_axes_to_patient(ct: Volume, settings: NNUNetEntry) -> Affine:
    """(4, 4): index along nnU-Net's three axes (and 1) to LPS millimetres (x, y, z, 1)."""
    grid = ct.grid
    if settings.orientation != "stored":
        grid = ct.canonical().grid
    matrix = grid.matrix[:, [2, 1, 0, 3]]  # of an index (z, y, x, 1)
    if settings.orientation == "RAS":
        for axis in (1, 2):
            matrix[:, 3] += matrix[:, axis] * (grid.shape[axis] - 1)
            matrix[:, axis] *= -1
    return matrix[:, [*settings.transpose, 3]]


def _nonzero_box(hu: VoxelArray) -> Box3:
    """The smallest box with every voxel that is not 0; the whole volume where all are."""
    filled = [np.zeros(size, bool) for size in hu.shape]
    for first, plane in enumerate(hu):
        nonzero = plane != 0
        filled[0][first] = nonzero.any()
        filled[1] |= nonzero.any(1)
        filled[2] |= nonzero.any(0)
    sides = []
    for along in filled:
        places_filled = np.flatnonzero(along)
        if len(places_filled):
            sides.append(slice(int(places_filled[0]), int(places_filled[-1]) + 1))
        else:  # of nothing but 0
            sides.append(slice(0, len(along)))
    return sides[0], sides[1], sides[2]


def _write(scores: torch.Tensor, labels: npt.NDArray[np.uint8], written: npt.NDArray[np.uint8], out: VoxelArray,
           thick: int | None) -> None:
    """Fills the native box `out`: scores interpolated linearly, along a thick axis the nearest ones."""
    if thick is None:
        NativeLabels(scores, labels, written, only_neighbours=False).write_aligned(out)
        return
    layers, native = scores.movedim(thick, 0), np.moveaxis(out, thick, 0)
    layer_labels = np.moveaxis(labels, thick, 0)
    nearest = np.clip(np.floor(places(len(layers), len(native)) + 0.5), 0, len(layers) - 1).astype(int)
    for layer in np.unique(nearest):
        alone = slice(layer, layer + 1)
        plane = np.empty((1, *native.shape[1:]), np.uint8)
        NativeLabels(layers[alone].contiguous(), np.ascontiguousarray(layer_labels[alone]), written,
                     only_neighbours=False).write_aligned(plane)
        native[nearest == layer] = plane
