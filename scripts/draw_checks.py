"""Draws docs/figures/checks.png: a phantom's labels with one fault each, and what the checks say of it.

    python scripts/draw_checks.py

The sentences are those of the library; the drawing ends with an error where a check does not notice its fault.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting.check_kinds import CheckKind
from PartialOrganSegLib.segmenting.organ_checks import check_organs
from PartialOrganSegLib.synthesis.phantom import make_phantom

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "figures" / "checks.png"
# The whole phantom, body and all.
SHAPE, MM = (88, 64, 96), 5.0
# Two in a row, so that the sentences can be read on a phone.
SCALE, GAP, TITLE, COLUMNS = 4, 10, 54, 2
PAPER, OTHERS = (255, 255, 255), (215, 215, 215)
Labels = npt.NDArray[np.uint8]


def draw() -> Image.Image:
    """The picture: six faults, each from the front, the organ in question in its colour."""
    ct, labels = make_phantom(SHAPE, (MM, MM, MM))
    font = ImageFont.load_default(size=17)
    width, height = SHAPE[2] * SCALE, SHAPE[0] * SCALE
    picture = Image.new("RGB", (COLUMNS * (width + GAP) - GAP, len(FAULTS) // COLUMNS * (height + TITLE)), PAPER)
    pen = ImageDraw.Draw(picture)
    for number, (kind, (organ, fault)) in enumerate(FAULTS.items()):
        faulty = labels.array.copy()
        fault(faulty, WORD16.index(organ))
        title = f"{organ.replace('_', ' ')}:\n{_finding(Volume(faulty, labels.grid), ct, organ, kind)}"
        x, y = number % COLUMNS * (width + GAP), number // COLUMNS * (height + TITLE)
        pen.text((x, y + 4), title, (20, 20, 20), font)
        front = Image.fromarray(_from_the_front(faulty, WORD16.index(organ)))
        picture.paste(front.resize((width, height), Image.Resampling.NEAREST), (x, y + TITLE - 2))
    return picture


def _finding(labels: Volume, ct: Volume, organ: str, kind: CheckKind) -> str:
    """The library's sentence. Raises ValueError where it does not notice."""
    for report in check_organs(labels, WORD16, ct=ct):
        for check in report.checks:
            if report.organ == organ and check.kind is kind:
                return check.text()
    raise ValueError(f"{organ}: expected the check {kind.value}, found none")


def _from_the_front(labels: Labels, index: int) -> npt.NDArray[np.uint8]:
    """(rows, columns, 3): head up, the patient's right on the left."""
    picture = np.full((labels.shape[0], labels.shape[2], 3), PAPER, np.uint8)
    picture[(labels > 0).any(axis=1)] = OTHERS
    picture[(labels == index).any(axis=1)] = WORD16.organs[index - 1].colour
    # Rows of a picture run down, the CT's z up.
    return picture[::-1]


def _cut_off(labels: Labels, index: int) -> None:
    """The field of view ends within the organ, so that it reaches the first slice."""
    lowest = int(np.nonzero((labels == index).any(axis=(1, 2)))[0][0])
    shift = lowest + 8
    labels[:-shift] = labels[shift:].copy()
    labels[-shift:] = 0


def _shrunken(labels: Labels, index: int) -> None:
    organ = labels == index
    labels[organ & ~ndimage.binary_erosion(organ, iterations=2)] = 0


def _grown(labels: Labels, index: int) -> None:
    grown = ndimage.binary_dilation(labels == index, iterations=6)
    labels[grown & (labels == 0)] = index


def _in_two(labels: Labels, index: int) -> None:
    middle = int(np.argwhere(labels == index).mean(0)[0])
    labels[middle - 1:middle + 2][labels[middle - 1:middle + 2] == index] = 0


def _strayed(labels: Labels, index: int) -> None:
    """A piece of the bladder high up in the belly."""
    organ = np.argwhere(labels == index)
    z, y, x = organ.mean(0).astype(int)
    high = z + 50
    labels[high:high + 6, y - 6:y, x - 3:x + 3] = index


def _mirrored(labels: Labels, index: int) -> None:
    twin = index + 1
    of_one, of_twin = labels == index, labels == twin
    labels[of_one], labels[of_twin] = twin, index


FAULTS: dict[CheckKind, tuple[str, Callable[[Labels, int], None]]] = {
    CheckKind.TOUCHES_BORDER: ("bladder", _cut_off),
    CheckKind.VERY_SMALL: ("spleen", _shrunken),
    CheckKind.VERY_LARGE: ("pancreas", _grown),
    CheckKind.SEPARATE_PARTS: ("left_kidney", _in_two),
    CheckKind.STRAY_COMPONENT: ("bladder", _strayed),
    CheckKind.SIDE_SWAPPED: ("left_kidney", _mirrored),
}

if __name__ == "__main__":
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    draw().save(PICTURE)
