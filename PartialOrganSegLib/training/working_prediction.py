"""What a network in training predicts of a CT at working spacing, window by window."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..events import Reporter
from ..models.bundle import Preprocessing
from ..segmenting.bundle_predictor import at_scale
from ..segmenting.scores import best_classes
from ..segmenting.window_layout import plan
from ..segmenting.windows import window_scores
from .network_sizes import size_multiple_of, slices_of

# Makes the context in which a network computes, say in reduced precision.
Precision: TypeAlias = Callable[[], contextlib.AbstractContextManager[object]]


def predicted_classes(network: nn.Module, image: npt.NDArray[np.int16 | np.float32], preprocessing: Preprocessing,
                      classes: int, device: torch.device,
                      precision: Precision = contextlib.nullcontext) -> npt.NDArray[np.uint8]:
    """(z, y, x) uint8 class indices of an `image` (z, y, x) in HU at working spacing, by a network in eval mode."""
    return best_classes(predicted_logits(network, image, preprocessing, classes, device, precision=precision))


@torch.inference_mode()
def predicted_logits(network: nn.Module, image: npt.NDArray[np.int16 | np.float32], preprocessing: Preprocessing,
                     classes: int, device: torch.device, scales: Sequence[float] = (1.0,),
                     precision: Precision = contextlib.nullcontext) -> torch.Tensor:
    """(z, y, x, class) float16 logits of an `image` (z, y, x) in HU at working spacing, by a network in eval mode.

    `scales`: sizes in plane whose logits are averaged. `precision`: of the network, by itself the full one.
    """
    multiple = size_multiple_of(network)

    def forward(window: torch.Tensor) -> torch.Tensor:
        data = window.to(device)
        with precision():
            logits = at_scale(network, data, scales[0], multiple)
            for scale in scales[1:]:
                logits = logits + at_scale(network, data, scale, multiple)
        return (logits / len(scales))[0].permute(1, 2, 3, 0).cpu()

    volume = preprocessing.normalise(torch.from_numpy(np.array(image, np.float32)))
    depth, height, width = volume.shape
    layout = plan((depth, height, width), preprocessing.patch_zyx, multiple, slices_of(network))
    return window_scores(volume, preprocessing.padding, layout, classes, forward, Reporter())
