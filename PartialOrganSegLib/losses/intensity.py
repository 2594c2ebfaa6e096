"""Intra-class intensity variance minimisation (WORD, Luo 2021, section 4.3.3): an organ has one brightness.

The paper's formula and its printed code differ; both are here, and a third form that does what the text says.
`I` is the network's normalised input, sums run over all spatial dimensions of an image.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ..errors import Code, UserError, did_you_mean
from ..loading.targets import Targets
from .registry import LOSSES
from .supervision import Supervision
from .voxels import Voxels, group_sum

SMALLEST_VARIANCE = 1e-12  # the square root has no slope at 0


@LOSSES.register("intensity", source="Luo 2021 (3) and (4), and its printed code")
class IntensityVariance(nn.Module):
    """Intensity variance within the predicted classes.

    `form`: "printed" (default) is the paper's code, `mean_{b,c} std_voxels(I p_c)` with the unbiased deviation;
    "formula" is `mean_{b,c,voxels} (p_c I - u_c)^2`, `u_c = sum I p_c / sum p_c` (equations 3 and 4); "weighted" is
    `mean_b sum_c [sum p_c (I - u_c)^2 / sum p_c]`, the only one that is always lower for the right mask than for a
    wrong one. `unknown_only` leaves out voxels of which the annotation knows the class; the paper takes all.
    """

    def __init__(self, form: str = "printed", unknown_only: bool = False) -> None:
        super().__init__()
        if form not in FORMS:
            raise UserError(code=Code.UNKNOWN_NAME, subject="loss_arguments: intensity.form",
                            expected=f"one of {', '.join(FORMS)}", found=f"'{form}'", hint=did_you_mean(form, FORMS))
        self.form, self.unknown_only = form, unknown_only

    def forward(self, logits: torch.Tensor, targets: Targets) -> torch.Tensor:
        """Scalar float32, at least 0. Raises ValueError for a batch without image."""
        batch = Supervision.of(logits, targets)
        voxels = batch.all_voxels
        if not len(voxels):
            return batch.zero
        weights = voxels.weights
        if self.unknown_only:
            weights = weights * batch.open[voxels.codes]
        return FORMS[self.form](voxels, weights)


def _over_images(voxels: Voxels, values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(N, D) values to their weighted sums over each image, (B, D)."""
    return group_sum(values, voxels.images, weights, len(voxels.batch.logits))


def _at_voxels(voxels: Voxels, values: torch.Tensor) -> torch.Tensor:
    """(B, D) values of each image at its voxels, (N, D): a product, as the slope of indexing is summed in any order."""
    images = torch.arange(len(values), device=values.device)
    return (voxels.images[:, None] == images).float() @ values


def _image_sizes(voxels: Voxels, weights: torch.Tensor) -> torch.Tensor:
    """(B, 1): how many voxels of each image are meant."""
    return _over_images(voxels, torch.ones_like(weights)[:, None], weights)


def _printed(voxels: Voxels, weights: torch.Tensor) -> torch.Tensor:
    product = voxels.probabilities * voxels.intensity[:, None]
    size = _image_sizes(voxels, weights)
    # Around its mean the variance has no slope in the mean, so that one needs no graph.
    mean = _over_images(voxels, product.detach(), weights) / size.clamp_min(1)
    squares = _over_images(voxels, (product - mean[voxels.images]).square(), weights)
    variance = squares / (size - 1).clamp_min(1)
    return torch.where(variance > SMALLEST_VARIANCE, variance.clamp_min(SMALLEST_VARIANCE).sqrt(), 0.0).mean()


def _class_means(voxels: Voxels, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """u_c and sum p_c, both (B, C)."""
    sizes = _over_images(voxels, voxels.probabilities, weights)
    brightness = _over_images(voxels, voxels.probabilities * voxels.intensity[:, None], weights)
    # A class that nobody predicts has no mean; its terms are 0 with any.
    return brightness / sizes.clamp_min(1e-6), sizes


def _formula(voxels: Voxels, weights: torch.Tensor) -> torch.Tensor:
    means, _ = _class_means(voxels, weights)
    distance = voxels.probabilities * voxels.intensity[:, None] - _at_voxels(voxels, means)
    return (_over_images(voxels, distance.square(), weights) / _image_sizes(voxels, weights).clamp_min(1)).mean()


def _weighted(voxels: Voxels, weights: torch.Tensor) -> torch.Tensor:
    means, sizes = _class_means(voxels, weights)
    distance = (voxels.intensity[:, None] - _at_voxels(voxels, means)).square() * voxels.probabilities
    return (_over_images(voxels, distance, weights) / sizes.clamp_min(1e-6)).sum(1).mean()


FORMS: dict[str, Callable[[Voxels, torch.Tensor], torch.Tensor]] = {
    "printed": _printed, "formula": _formula, "weighted": _weighted}
