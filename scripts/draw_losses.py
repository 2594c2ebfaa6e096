"""Draws docs/figures/losses-on-a-slice.png: what entropy and intensity variance do to an undecided prediction.

    python scripts/draw_losses.py

No network: the logits of one phantom's slice are changed by gradient descent on one loss alone, so that all that is
seen is that loss. A voxel's colour is the mixture of the classes' colours, by their probabilities.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from draw_candidate_sets import CENTRE, SHAPE, SPACING, side_by_side, soft_tissue
from PIL import Image
from scipy import ndimage

from PartialOrganSegLib.annotation import UNKNOWN
from PartialOrganSegLib.loading.targets import Targets
from PartialOrganSegLib.losses.entropy import Entropy
from PartialOrganSegLib.losses.intensity import IntensityVariance
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.synthesis.phantom import make_phantom

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "figures" / "losses-on-a-slice.png"
# How far an undecided network's borders are blurred, in voxels, and how far its organs lie beside the right place.
BLUR, SHIFT = 4.0, 3
STEPS, RATE = 60, 0.1
BACKGROUND_COLOUR = (225, 225, 225)


def draw() -> Image.Image:
    """The picture: CT, labels, the start, and the start after each of the losses."""
    ct, labels = make_phantom(SHAPE, SPACING, centre_zyx=CENTRE)
    middle = SHAPE[0] // 2
    hounsfield, truth = ct.array[middle].astype(np.float32), labels.array[middle]
    start = _undecided(truth)
    image = torch.from_numpy(np.clip(hounsfield, -160, 240) / 200)[None, None]
    panels = [("the CT", soft_tissue(hounsfield)), ("its labels", _mixture(_one_hot(truth))),
              ("start: undecided", _mixture(start))]
    entropy, intensity = Entropy(), IntensityVariance("weighted")
    losses: dict[str, list[torch.nn.Module]] = {
        "entropy (EM)": [entropy], "intensity variance (IVM)": [intensity], "both": [entropy, intensity]}
    for title, summands in losses.items():
        panels.append((f"after {title}", _mixture(_descended(summands, start, image))))
    return side_by_side(panels)


def _one_hot(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """(class, rows, columns)."""
    return np.asarray(labels == np.arange(WORD16.class_count)[:, None, None], np.float32)


def _undecided(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Probabilities (class, rows, columns) of a network that knows about where the organs are."""
    moved = np.roll(_one_hot(labels), SHIFT, axis=2)
    blurred = np.stack([ndimage.gaussian_filter(plane, BLUR) for plane in moved]) + 1e-4
    return np.asarray(blurred / blurred.sum(0), np.float32)


def _descended(losses: list[torch.nn.Module], start: npt.NDArray[np.float32],
               image: torch.Tensor) -> npt.NDArray[np.float32]:
    """Probabilities after the descent on the sum of the losses, every voxel unknown."""
    logits = torch.from_numpy(start).log()[None].requires_grad_()
    candidate_sets = torch.ones((2, WORD16.class_count), dtype=torch.bool)
    candidate_map = torch.full((1, *start.shape[1:]), UNKNOWN, dtype=torch.uint8)
    targets = Targets(candidate_map, candidate_sets, image=image)
    optimiser = torch.optim.Adam([logits], lr=RATE)
    for _ in range(STEPS):
        optimiser.zero_grad()
        torch.stack([loss(logits, targets) for loss in losses]).sum().backward()
        optimiser.step()
    return np.asarray(logits.detach().softmax(1)[0].numpy(), np.float32)


def _mixture(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """(rows, columns, 3)."""
    colours = np.array([BACKGROUND_COLOUR, *(organ.colour for organ in WORD16.organs)], np.float32)
    return np.asarray(np.einsum("chw,cd->hwd", probabilities, colours).round(), np.uint8)


if __name__ == "__main__":
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    draw().save(PICTURE)
