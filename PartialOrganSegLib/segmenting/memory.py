"""How much memory a prediction takes, known before it starts."""

from __future__ import annotations

import numpy as np
import psutil

from ..errors import UserError
from ..events import Reporter
from ..imaging.resampling import working_shape
from ..imaging.volume import Grid
from ..models.bundle import Bundle
from .nnunet.windows import SLICES

# Measured: interpreter, torch, SimpleITK and the network's code.
BASE_BYTES = 500 << 20
# Generous for the light networks, per voxel of the largest window: activations, logits and their copies in float32.
ACTIVATION_BYTES = 250
# Of nnU-Net's networks, measured: per voxel of a window and channel of the finest stage, and per class.
NNUNET_CHANNEL_BYTES, NNUNET_CLASS_BYTES = 28, 12
MIB = 1 << 20


def estimate_memory(grid: Grid, bundle: Bundle) -> int:
    """Peak bytes of the process that segments a 16-bit CT on `grid` on the CPU, if the body fills the whole volume."""
    native = int(np.prod(grid.size))
    read = grid.axis_order().canonical_grid(grid)
    target, patch = bundle.preprocessing.spacing_zyx, int(np.prod(bundle.preprocessing.patch_zyx))
    if bundle.nnunet is not None and len(bundle.nnunet.spacing) == 2:
        if bundle.nnunet.orientation == "stored":
            read = grid
        across = bundle.nnunet.transpose[0]  # slices stay as far apart as they are
        target = tuple(read.spacing[::-1][axis] if axis == across else target[axis] for axis in range(3))
        patch = min(SLICES, read.shape[across]) * int(np.prod(bundle.nnunet.patch))
    working = int(np.prod(working_shape(read.shape, read.spacing[::-1], target)))
    merged = working * (bundle.label_space.class_count * 2 + 3 * 4)
    if bundle.nnunet is not None:
        channels, more = bundle.network_arguments["features"], bundle.network_arguments.get("more", [])
        classes = bundle.label_space.class_count + len(more)
        activations = patch * (channels[0] * NNUNET_CHANNEL_BYTES + classes * NNUNET_CLASS_BYTES)
    else:
        activations = min(2 * patch, working) * ACTIVATION_BYTES
    return BASE_BYTES + native * 3 + merged + activations


def check_memory(grid: Grid, bundle: Bundle, reporter: Reporter) -> None:
    """Warns before a run that needs most of the free memory; raises UserError when it cannot fit at all.

    The CT itself is in memory already, so are the libraries.
    """
    needed = estimate_memory(grid, bundle) - BASE_BYTES - int(np.prod(grid.size)) * 2
    memory = psutil.virtual_memory()
    size = " x ".join(map(str, grid.size))
    if needed > memory.available + psutil.swap_memory().free:
        raise UserError(f"a CT of {size} voxels: expected {needed // MIB} MiB of free memory, "
                        f"found {memory.available // MIB} MiB")
    if needed > 0.8 * memory.available:
        reporter.warning(f"a CT of {size} voxels takes about {needed // MIB} MiB of memory, "
                         f"{memory.available // MIB} MiB are free")
