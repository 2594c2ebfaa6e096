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
from .timing import timed
from .windows import plan, round_up, window_scores


class BundlePredictor:
    """Prediction with a network of our own; see `Predictor`."""

    def __init__(self, bundle: Bundle, device: torch.device, mirror: bool, scales: Sequence[float],
                 precision: str = "auto") -> None:
        self._space, self._preprocessing, self._device = bundle.label_space, bundle.preprocessing, device
        self._mirror, self._scales = mirror, tuple(scales)
        self.threads = 1  # windows that are computed at a time, on a CPU
        self.precision = choose_precision(precision, device, bundle.precision)
        network = bundle.load_network(device)
        self._multiple = getattr(network, "size_multiple", (1, 1, 1))
        self._slices = getattr(network, "slices", None)
        network = fold_batch_norm(network, tuple(2 * unit for unit in self._multiple))
        self.network = channels_last(network)
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
    def spacing_zyx(self) -> tuple[float, float, float]:
        """The working spacing in mm."""
        return self._preprocessing.spacing_zyx

    def scores(self, patient: Patient, frame: WorkingGrid, seconds: dict[str, float],
               reporter: Reporter) -> torch.Tensor:
        """float16 logits (z, y, x, class) on the working grid `frame`."""
        with timed(seconds, "resample"):
            volume = self._preprocessing.normalise(frame.read(patient.canonical.array))
        with timed(seconds, "windows"):
            settings = self._preprocessing
            layout = plan(tuple(volume.shape), settings.patch_zyx, self._multiple, self._slices, settings.overlap,
                          settings.fitted)
            before = seconds.get("forward", 0.0)

            def waited(elapsed: float) -> None:
                seconds["forward"] = seconds.get("forward", 0.0) + elapsed

            scores = window_scores(volume, self._preprocessing.padding, layout, self._space.class_count, self._logits,
                                   reporter, self.threads if self._device.type == "cpu" else 1, waited)
        seconds["windows"] -= seconds.get("forward", 0.0) - before
        return scores

    def _logits(self, window: torch.Tensor) -> torch.Tensor:
        """(1, 1, z, y, x) network input to logits (z, y, x, class) on the CPU."""
        data = window.to(self._device)
        reduced = self.precision != torch.float32
        with torch.autocast(self._device.type, self.precision, enabled=reduced):
            logits = self._at_scale(data, self._scales[0])
            for scale in self._scales[1:]:
                logits = logits + self._at_scale(data, scale)
        return (logits / len(self._scales) if len(self._scales) > 1 else logits)[0].permute(1, 2, 3, 0).cpu()

    def _at_scale(self, data: torch.Tensor, scale: float) -> torch.Tensor:
        """Logits (1, class, z, y, x) of a window that the network sees enlarged `scale` times in plane."""
        size = tuple(data.shape[2:])
        scaled = (size[0], *(round_up(round(n * scale), unit) for n, unit in zip(size[1:], self._multiple[1:],
                                                                                 strict=True)))
        if scaled != size:
            data = F.interpolate(data, scaled, mode="trilinear", align_corners=False)
        data = data.contiguous(memory_format=torch.channels_last_3d)
        logits = self.network(data)
        if self._mirror:
            flipped = self.network(data.flip(-1)).flip(-1)
            logits = (logits + flipped[:, self._permutation]) / 2
        return logits if scaled == size else F.interpolate(logits, size, mode="trilinear", align_corners=False)

