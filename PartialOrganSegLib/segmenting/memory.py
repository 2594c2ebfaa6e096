"""How much memory a prediction takes, known before it starts."""

from __future__ import annotations

import numpy as np

from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..free_memory import free_memory, free_swap
from ..imaging.resampling import working_shape
from ..imaging.volume import Grid
from ..models.bundle import Bundle, Preprocessing
from .nnunet.windows import SLICES
from .window_layout import PLANE_LIMIT

# Measured: interpreter, torch, SimpleITK and the network's code.
BASE_BYTES = 500 << 20
# Generous for the light networks, per voxel of the largest window: activations, logits and their copies in float32.
ACTIVATION_BYTES = 250
# Of nnU-Net's networks, measured: per voxel of a window and channel of the finest stage, and per class.
NNUNET_CHANNEL_BYTES, NNUNET_CLASS_BYTES = 20, 12
NEAR_ORGANS = 0.5  # of a joined model's voxels have scores at most, in a body full of organs
MIB = 1 << 20
# Of 40 cm each way: what a run counts with that has not seen its CTs yet.
LARGE_CT = Grid((512, 512, 200), (0.8, 0.8, 2.0))


def estimate_memory(grid: Grid, bundle: Bundle) -> int:
    """Peak bytes of the process that segments a 16-bit CT on `grid` on the CPU, if the body fills the whole volume."""
    native = int(np.prod(grid.size))
    if bundle.folds:
        # The models' scores come one after the other, beside their mean; votes are label maps.
        largest = 0
        for fold in bundle.folds:
            needed = estimate_memory(grid, fold)
            if not fold.members:
                merged, activations = _network_bytes(grid, fold)
                needed = 2 * merged + activations
            largest = max(largest, needed)
        return BASE_BYTES + native * (3 + len(bundle.folds)) + largest
    if not bundle.members:
        return BASE_BYTES + native * 3 + sum(_network_bytes(grid, bundle))
    # One network after the other, beside the scores that they are joined in, on the finest of their grids.
    networks = [_network_bytes(grid, member.bundle) for member in bundle.members]
    finest = max(_working_voxels(grid, member.bundle) for member in bundle.members)
    joined = int(finest * (bundle.label_space.class_count * 2 * NEAR_ORGANS + 3 * 4))
    return BASE_BYTES + native * 3 + joined + max(sum(network) for network in networks)


def _network_bytes(grid: Grid, bundle: Bundle) -> tuple[int, int]:
    """Bytes of a network's merged scores and of its activations."""
    working, patch = _working_voxels(grid, bundle), int(np.prod(bundle.preprocessing.patch_zyx))
    merged = working * (bundle.label_space.class_count * 2 + 3 * 4)
    if bundle.folds:  # beside their mean
        mean, activations = merged, max(_network_bytes(grid, fold)[1] for fold in bundle.folds)
        return merged + mean, activations
    if bundle.network_name != "nnunet_v2":
        return merged, min(2 * patch, working) * ACTIVATION_BYTES
    if bundle.nnunet is not None and len(bundle.nnunet.spacing) == 2:
        slices = min(SLICES, _read_grid(grid, bundle).shape[bundle.nnunet.transpose[0]])
        patch = slices * int(np.prod(bundle.nnunet.patch))
    channels, merged_classes = bundle.network_arguments["features"], bundle.network_arguments.get("more", [])
    classes = bundle.label_space.class_count + len(merged_classes)
    window = patch
    if bundle.nnunet is None:  # windows are planned as for networks of our own
        window = _largest_window(bundle.preprocessing)
    return merged, window * (channels[0] * NNUNET_CHANNEL_BYTES + classes * NNUNET_CLASS_BYTES)


def _largest_window(preprocessing: Preprocessing) -> int:
    """Voxels of the largest window that `windows.plan` may choose."""
    patch = int(np.prod(preprocessing.patch_zyx))
    if preprocessing.fitted is not None:
        return int(patch * preprocessing.fitted)
    return int(patch * PLANE_LIMIT ** 2)


def _read_grid(grid: Grid, bundle: Bundle) -> Grid:
    """The CT's grid as the network sees its axes."""
    if bundle.nnunet is not None and len(bundle.nnunet.spacing) == 2 and bundle.nnunet.orientation == "stored":
        return grid
    return grid.axis_order().canonical_grid(grid)


def _working_voxels(grid: Grid, bundle: Bundle) -> int:
    """Voxels at working spacing, if the body fills the whole volume."""
    read, target = _read_grid(grid, bundle), list(bundle.preprocessing.spacing_zyx)
    if bundle.nnunet is not None and len(bundle.nnunet.spacing) == 2:
        across = bundle.nnunet.transpose[0]
        target[across] = read.spacing[::-1][across]  # slices stay as far apart as they are
    return int(np.prod(working_shape(read.shape, read.spacing[::-1], target)))


def check_memory(grid: Grid, bundle: Bundle, reporter: Reporter) -> None:
    """Warns before a run that needs most of the free memory; raises UserError when it cannot fit at all.

    The CT itself is in memory already, so are the libraries.
    """
    # Both count already as memory that is not free.
    needed = estimate_memory(grid, bundle) - BASE_BYTES - int(np.prod(grid.size)) * 2
    free = free_memory()
    size = " x ".join(map(str, grid.size))
    if needed > free + free_swap():
        raise UserError(code=Code.NO_MEMORY, subject=f"a CT of {size} voxels",
                        expected=f"{needed // MIB} MiB of free memory", found=f"{free // MIB} MiB")
    if needed > 0.8 * free:
        reporter.warning(Problem(Code.MEMORY_TIGHT, found=f"a CT of {size} voxels takes about {needed // MIB} MiB of "
                                 f"memory, {free // MIB} MiB are free"))
