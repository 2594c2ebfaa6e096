"""Our own way to segment a CT: localise the patient, resample, windows over the body, clean, back to the CT's grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from ..events import Reporter
from ..imaging.volume import Volume
from ..imaging.working_grid import WorkingGrid
from ..models.bundle import Bundle
from ..networks import channels_last
from .backend import choose_precision
from .folding import fold_batch_norm
from .patient import Patient, finish, locate
from .scores import mean_probabilities
from .timing import timed
from .windows import plan, round_up, window_scores


class BundlePredictor:
    """Prediction with a network of our own, or with the mean probabilities of an ensemble's; see `Predictor`."""

    def __init__(self, bundle: Bundle, device: torch.device, mirror: bool, scales: Sequence[float],
                 precision: str = "auto") -> None:
        self._space, self._preprocessing, self._device = bundle.label_space, bundle.preprocessing, device
        self._mirror, self._scales = mirror, tuple(scales)
        self.threads = 1  # windows that are computed at a time, on a CPU
        self.precision = choose_precision(precision, device, bundle.precision)
        self.networks = [_Network(one, device) for one in bundle.one_network_each]
        self._permutation = bundle.label_space.mirror_permutation()

    def segment(self, ct: Volume, written: np.ndarray, seconds: dict[str, float],
                reporter: Reporter) -> tuple[np.ndarray, dict[str, float]]:
        """uint8 labels on the CT's grid and the mean entropy of each organ found.

        `written` (class count,): the value written for each class. `seconds` receives the stages' times.
        """
        patient = locate(ct, seconds)
        frame = patient.frame(self.spacing_zyx)
        scores = self.scores(patient, frame, seconds, reporter)
        return finish(scores, patient, frame, self._space, written, seconds)

    @property
    def network(self) -> torch.nn.Module:
        """The network, of an ensemble the first."""
        return self.networks[0].module

    @property
    def spacing_zyx(self) -> tuple[float, float, float]:
        """The working spacing in mm."""
        return self._preprocessing.spacing_zyx

    def scores(self, patient: Patient, frame: WorkingGrid, seconds: dict[str, float],
               reporter: Reporter) -> torch.Tensor:
        """float16 logits (z, y, x, class) on the working grid `frame`."""
        with timed(seconds, "resample"):
            volume = self._preprocessing.normalise(frame.read(patient.canonical.array))
        scores = (self._scores_of(network, volume, seconds, reporter) for network in self.networks)
        if len(self.networks) == 1:
            return next(scores)
        return mean_probabilities(scores, len(self.networks))

    def _scores_of(self, network: _Network, volume: torch.Tensor, seconds: dict[str, float],
                   reporter: Reporter) -> torch.Tensor:
        """float16 logits (z, y, x, class) of one network on the whole volume."""
        with timed(seconds, "windows"):
            settings = self._preprocessing
            layout = plan(tuple(volume.shape), settings.patch_zyx, network.multiple, network.slices, settings.overlap,
                          settings.fitted)
            before = seconds.get("forward", 0.0)

            def waited(elapsed: float) -> None:
                seconds["forward"] = seconds.get("forward", 0.0) + elapsed

            def logits(window: torch.Tensor) -> torch.Tensor:
                return self._logits(network, window)

            scores = window_scores(volume, self._preprocessing.padding, layout, self._space.class_count, logits,
                                   reporter, self.threads if self._device.type == "cpu" else 1, waited)
        seconds["windows"] -= seconds.get("forward", 0.0) - before
        return scores

    def _logits(self, network: _Network, window: torch.Tensor) -> torch.Tensor:
        """(1, 1, z, y, x) network input to logits (z, y, x, class) on the CPU."""
        data = window.to(self._device)
        reduced = self.precision != torch.float32
        with torch.autocast(self._device.type, self.precision, enabled=reduced):
            logits = self._at_scale(network, data, self._scales[0])
            for scale in self._scales[1:]:
                logits = logits + self._at_scale(network, data, scale)
        return (logits / len(self._scales) if len(self._scales) > 1 else logits)[0].permute(1, 2, 3, 0).cpu()

    def _at_scale(self, network: _Network, data: torch.Tensor, scale: float) -> torch.Tensor:
        """Logits (1, class, z, y, x) of a window that the network sees enlarged `scale` times in plane."""
        logits = at_scale(network.module, data, scale, network.multiple)
        if self._mirror:
            flipped = at_scale(network.module, data.flip(-1), scale, network.multiple).flip(-1)
            logits = (logits + flipped[:, self._permutation]) / 2
        return logits


class _Network:
    """A network ready to predict, and what sizes it takes."""

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        network = bundle.load_network(device)
        self.multiple: tuple[int, ...] = getattr(network, "size_multiple", (1, 1, 1))
        self.slices: int | None = getattr(network, "slices", None)
        self.module = channels_last(fold_batch_norm(network, tuple(2 * unit for unit in self.multiple)))


def at_scale(network: torch.nn.Module, data: torch.Tensor, scale: float, multiple: Sequence[int]) -> torch.Tensor:
    """Logits (1, class, z, y, x) of `data` (1, 1, z, y, x) that the network sees enlarged `scale` times in plane.

    `multiple` (z, y, x): what sizes the network takes.
    """
    size = tuple(data.shape[2:])
    scaled = [size[0]]
    for length, unit in zip(size[1:], multiple[1:], strict=True):
        scaled.append(round_up(round(length * scale), unit))
    if tuple(scaled) != size:
        data = F.interpolate(data, scaled, mode="trilinear", align_corners=False)
    data = data.contiguous(memory_format=torch.channels_last_3d)
    logits: torch.Tensor = network(data)
    if tuple(scaled) == size:
        return logits
    return F.interpolate(logits, size, mode="trilinear", align_corners=False)

