"""Our own way to segment a CT: localise, resample, slide windows over the body, clean up, back to its grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from ..events import Reporter
from ..imaging.shapes import LabelMap, Shape3, Spacing3, shape_of
from ..imaging.volume import Volume
from ..imaging.working_grid import WorkingGrid
from ..models.bundle import Bundle
from ..networks import channels_last
from ..networks.precision import computing_in
from .backend import choose_precision
from .cores import Threads
from .folding import fold_batch_norm
from .patient import Patient, finish, locate
from .scores import mean_probabilities
from .timing import timed
from .window_layout import plan, round_up
from .windows import window_scores


class BundlePredictor:
    """Prediction with a network of our own, or with the mean probabilities of an ensemble's; see `Predictor`."""

    def __init__(self, bundle: Bundle, device: torch.device, mirror: bool, scales: Sequence[float],
                 precision: str = "auto") -> None:
        self._space, self._preprocessing, self._device = bundle.label_space, bundle.preprocessing, device
        self._mirror, self._scales = mirror, tuple(scales)
        self.threads = Threads()  # on a CPU
        self.precision = choose_precision(precision, device, bundle.precision)
        self.networks = [_Network(network, device) for network in bundle.one_network_each]
        self._permutation = bundle.label_space.mirror_permutation()

    def segment(self, ct: Volume, written: npt.NDArray[np.uint8], seconds: dict[str, float],
                reporter: Reporter) -> tuple[LabelMap, dict[str, float]]:
        """uint8 labels on the CT's grid and the mean entropy of each organ that is there.

        `written` (class count,): the value written for each class. `seconds` receives the stages' times.
        """
        patient = locate(ct, seconds)
        grid = patient.working_grid(self.spacing_zyx)
        scores = self.scores(patient, grid, seconds, reporter)
        return finish(scores, patient, grid, self._space, written, seconds)

    @property
    def network(self) -> torch.nn.Module:
        """The network, of an ensemble the first."""
        return self.networks[0].module

    @property
    def spacing_zyx(self) -> Spacing3:
        """The working spacing in mm."""
        return self._preprocessing.spacing_zyx

    def scores(self, patient: Patient, grid: WorkingGrid, seconds: dict[str, float],
               reporter: Reporter) -> torch.Tensor:
        """float16 logits (z, y, x, class) on the working grid `grid`."""
        settings = self._preprocessing
        with timed(seconds, "resample"):
            volume = settings.normalise(grid.read(patient.canonical.array))
        scores = (self._scores_of(network, volume, seconds, reporter) for network in self.networks)
        if len(self.networks) == 1:
            return next(scores)
        return mean_probabilities(scores, len(self.networks))

    def _scores_of(self, network: _Network, volume: torch.Tensor, seconds: dict[str, float],
                   reporter: Reporter) -> torch.Tensor:
        """float16 logits (z, y, x, class) of one network on the whole volume."""
        settings = self._preprocessing
        with timed(seconds, "windows"):
            layout = plan(shape_of(volume), settings.patch_zyx, network.multiple, network.slices, settings.overlap,
                          settings.fitted)
            before = seconds.get("forward", 0.0)

            def waited(elapsed: float) -> None:
                seconds["forward"] = seconds.get("forward", 0.0) + elapsed

            def logits(window: torch.Tensor) -> torch.Tensor:
                return self._logits(network, window)

            workers = 1  # keeps an accelerator busy
            if self._device.type == "cpu":
                workers = self.threads.windows
            scores = window_scores(volume, settings.padding, layout, self._space.class_count, logits, reporter,
                                   workers, waited)
        # The time of the windows is what the network did not take.
        seconds["windows"] -= seconds.get("forward", 0.0) - before
        return scores

    def _logits(self, network: _Network, window: torch.Tensor) -> torch.Tensor:
        """(1, 1, z, y, x) network input to logits (z, y, x, class) on the CPU."""
        data = window.to(self._device)
        with computing_in(self._device, self.precision):
            logits = self._at_scale(network, data, self._scales[0])
            for scale in self._scales[1:]:
                logits = logits + self._at_scale(network, data, scale)
        if len(self._scales) > 1:
            logits = logits / len(self._scales)
        return logits[0].permute(1, 2, 3, 0).cpu()

    def _at_scale(self, network: _Network, data: torch.Tensor, scale: float) -> torch.Tensor:
        """Logits (1, class, z, y, x) of a window that the network sees enlarged `scale` times in plane."""
        logits = at_scale(network.module, data, scale, network.multiple)
        if self._mirror:
            # The mirrored CT's left organs are right ones.
            flipped = at_scale(network.module, data.flip(-1), scale, network.multiple).flip(-1)
            logits = (logits + flipped[:, self._permutation]) / 2
        return logits


class _Network:
    """A network ready to predict, and what sizes it takes."""

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        network = bundle.load_network(device)
        self.multiple: Shape3 = getattr(network, "size_multiple", (1, 1, 1))
        self.slices: int | None = getattr(network, "slices", None)
        z, y, x = self.multiple
        self.module = channels_last(fold_batch_norm(network, (2 * z, 2 * y, 2 * x)))


def at_scale(network: torch.nn.Module, data: torch.Tensor, scale: float, multiple: Shape3) -> torch.Tensor:
    """Logits (1, class, z, y, x) of `data` (1, 1, z, y, x) that the network sees enlarged `scale` times in plane.

    `multiple` (z, y, x): what sizes the network takes.
    """
    size = tuple(data.shape[2:])
    _, y_unit, x_unit = multiple
    scaled = (size[0], round_up(round(size[1] * scale), y_unit), round_up(round(size[2] * scale), x_unit))
    if scaled != size:
        data = F.interpolate(data, scaled, mode="trilinear", align_corners=False)
    data = data.contiguous(memory_format=torch.channels_last_3d)
    logits: torch.Tensor = network(data)
    if scaled == size:
        return logits
    return F.interpolate(logits, size, mode="trilinear", align_corners=False)
