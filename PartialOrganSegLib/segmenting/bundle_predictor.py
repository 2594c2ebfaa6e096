"""Our own way to segment a CT: localise the patient, resample, windows over the body, clean, back to the CT's grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from ..events import Reporter
from ..imaging.body import find_body
from ..imaging.frame import Frame
from ..imaging.upsampling import NativeLabels
from ..imaging.volume import Volume
from ..models.bundle import Bundle
from ..networks import channels_last
from .backend import fast_dtype
from .folding import fold_batch_norm
from .postprocess import clean
from .scores import best_classes, mean_entropy
from .timing import Stopwatch, timed
from .windows import plan, round_up, window_scores


class OwnMethod:
    """Prediction with a network of our own; see `Predictor`."""

    def __init__(self, bundle: Bundle, device: torch.device, mirror: bool, scales: Sequence[float]) -> None:
        self._space, self._preprocessing, self._device = bundle.label_space, bundle.preprocessing, device
        self._mirror, self._scales = mirror, tuple(scales)
        self._dtype = fast_dtype(device)
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
        with timed(seconds, "localise"):
            canonical = ct.canonical()
            body = find_body(canonical.array, canonical.grid.spacing[::-1])
        with timed(seconds, "resample"):
            frame = Frame.of(canonical.grid, body.box, body.midline, self._preprocessing.spacing_zyx)
            volume = self._preprocessing.normalise(frame.read(canonical.array))
        with timed(seconds, "windows"):
            layout = plan(tuple(volume.shape), self._preprocessing.patch_zyx, self._multiple, self._slices)
            forward = Stopwatch(self._logits)
            scores = window_scores(volume, self._preprocessing.padding, layout, self._space.class_count, forward,
                                   reporter)
            del volume
        seconds["forward"] = forward.seconds
        seconds["windows"] -= forward.seconds
        with timed(seconds, "clean"):
            if frame.turned is None:  # a network may call the air around the patient anything
                scores[torch.from_numpy(body.outside(tuple(scores.shape[:3])))] = _background(scores)
            labels = best_classes(scores)
            clean(scores, labels, frame.spacing_zyx, self._space, frame.midline)
            entropy = mean_entropy(scores, labels, self._space.names)
        with timed(seconds, "upsample"):
            native = np.zeros(ct.grid.shape, np.uint8)
            out = ct.grid.axis_order().to_canonical(native)[body.box]
            frame.write(NativeLabels(scores, labels, written), out)
        return native, entropy

    def _logits(self, window: torch.Tensor) -> torch.Tensor:
        """(1, 1, z, y, x) network input to logits (z, y, x, class) on the CPU."""
        data = window.to(self._device)
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
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


def _background(scores: torch.Tensor) -> torch.Tensor:
    """(C,) scores of a voxel that is background for sure."""
    sure = torch.zeros(scores.shape[-1], dtype=scores.dtype)
    sure[0] = 30
    return sure
