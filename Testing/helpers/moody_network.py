"""A network that never comes back from some CTs, eats memory for others or crashes: real work for limits and kills."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from PartialOrganSegLib.models.bundle import Bundle, Preprocessing
from PartialOrganSegLib.models.bundle_writing import write_bundle
from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.organs import label_space_of_names

NAME = "Testing.helpers.moody_network:Moody"
PREPROCESSING = Preprocessing((4.0, 4.0, 4.0), (-1000.0, 3000.0), 0.0, 1000.0, (16, 16, 16))
# A block of that many HU in a CT is what the network takes ill.
CRASHES_HU, EATS_HU, ENDLESS_HU, CRASHES_ONCE_HU = 1500, 2000, 2500, 1250
ONCE = "MOODY_ONCE"  # in the environment: a file that is made by the first crash of what crashes once
BLOCK_VOXELS = 64
PIECE_BYTES = 32 << 20
LICENCES = {"code": "Apache-2.0", "weights": "none", "data": "none"}


class Moody(torch.nn.Module):
    """Liver is what has 20 to 200 HU."""

    size_multiple = (1, 1, 1)

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        assert (in_channels, classes) == (1, 2)
        self.sign = torch.nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if shows(x, ENDLESS_HU):
            while True:
                time.sleep(0.02)
        elif shows(x, EATS_HU):
            eat()
        elif shows(x, CRASHES_HU) or (shows(x, CRASHES_ONCE_HU) and first_time()):
            os.kill(os.getpid(), signal.SIGSEGV)
        liver = ((x > 0.02) & (x < 0.2)).float() * 20 - 10
        return torch.cat([torch.zeros_like(liver), liver * self.sign], 1)


def shows(x: torch.Tensor, hu: float) -> bool:
    """Whether there is a block of that value; the random numbers on which networks are tried have none."""
    return int(((x - hu / PREPROCESSING.divide).abs() < 1e-3).sum()) >= BLOCK_VOXELS


def first_time() -> bool:
    """Whether nobody has asked before, over all processes."""
    path = Path(os.environ[ONCE])
    first = not path.exists()
    path.touch()
    return first


def eat() -> None:
    """Takes 32 MiB after the other, up to 8 GiB, each of which is written to."""
    pieces = []
    for _ in range(256):
        pieces.append(np.ones(PIECE_BYTES, np.uint8))


def moody_bundle(folder: Path, spacing_mm: float = 4.0) -> Bundle:
    """A model of that network, with the one organ liver, that works at voxels of `spacing_mm`."""
    settings = replace(PREPROCESSING, spacing_zyx=(spacing_mm,) * 3)
    space = label_space_of_names("moody", ["liver"])
    return write_bundle(folder, build_network(NAME, 1, 2), NAME, {}, space, settings, "moody", "1", LICENCES, [],
                        {}, "A network with moods.")


def write_moody_ct(path: Path, block_hu: int = 60, spacing_mm: float = 4.0, size: int = 20) -> Path:
    """A CT (size, size, size) of a body with a block that the network takes in its way."""
    hu = np.full((size, size, size), -1000, np.int16)
    hu[2:-2, 2:-2, 2:-2] = 10
    hu[5:11, 5:11, 5:11] = block_hu
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing((spacing_mm,) * 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path
