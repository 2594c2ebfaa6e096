"""How many steps fit into the minutes there are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..segmenting.window_layout import plan
from ..training.recipe import Recipe
from .speed import Speed

# So that 15 and 2 are kept where the machine slows down.
CPU_MINUTES, GPU_MINUTES = 12.0, 1.5
# With fewer there is little to expect, which is said; the time is kept all the same.
FEW_STEPS, MOST_STEPS = 40, 2000
# 600 steps on three cases brought the next patient no more than 200 did; for more cases it is a guess.
ENOUGH_STEPS, ENOUGH_FOR_A_CASE = 300, 100
# Of the Dice on the way, the last at the end; and one before the first step.
MEASUREMENTS = 4
# Of the time for them.
LARGEST_SHARE = 0.3
# Seconds on two slow cores: reading the cases once more, starting loaders, writing the model.
BESIDE = 15.0
MOST_LOADERS = 8


@dataclass(frozen=True)
class Budget:
    """What fits: steps, after how many of them Dice is measured and how long that takes, loader processes, and the
    whole time in seconds; `step_seconds` is that of a step. `step_limit`: steps that are made where they are quicker
    than expected. `trials` of alpha that there is time for."""

    steps: int
    step_limit: int
    measure_every: int
    measurements: int
    measurement_seconds: float
    workers: int
    seconds: float
    trials: int
    step_seconds: float


def default_minutes(device: torch.device) -> float:
    """The time a run takes when the user sets no limit."""
    return GPU_MINUTES if device.type == "cuda" else CPU_MINUTES


def make_budget(minutes: float, speed: Speed, recipe: Recipe, measured_shapes: Sequence[tuple[int, int, int]],
                multiple: tuple[int, int, int], device: torch.device, cases: int, steps: int | None = None,
                trials: int = 0) -> Budget:
    """Steps and measurements for at most `minutes`, as many as `cases` have to teach; or the time that `steps` take.

    `cases`: how many labelled ones are trained on. `measured_shapes` (z, y, x) are those of the CTs that Dice is
    measured on, `multiple` the network's. `trials`: how many alphas are tried at the end where there is time, a
    measurement each.
    """
    cores = os.cpu_count() or 1
    loading = recipe.batch_size * speed.patch
    # Loaders and steps share the cores.
    if device.type == "cpu":
        workers, step_seconds = 1, speed.step + loading / cores
    else:
        # Loaders work beside the GPU: whichever is slower decides.
        workers = max(1, min(MOST_LOADERS, cores - 1))
        step_seconds = max(speed.step, loading / workers)
    measurement = sum(network_voxels(shape, recipe, multiple) for shape in measured_shapes) * speed.voxel
    measurements = MEASUREMENTS
    if measurement:
        affordable = int(LARGEST_SHARE * 60 * minutes // measurement)
        # Those before the first step and after the last are due in any case.
        if steps is None:
            trials = max(0, min(trials, affordable - 2))
        measurements = min(MEASUREMENTS, max(1, affordable - 1 - trials))
    measuring = measurement * (measurements + 1 + trials)
    if steps is None:
        fitting = int((60 * minutes - BESIDE - measuring) / step_seconds)
        steps = max(1, min(fitting, max(ENOUGH_STEPS, ENOUGH_FOR_A_CASE * cases), MOST_STEPS))
        # The machine may get quicker, but no number of steps is worth more than twice as many as are enough.
        step_limit = min(2 * max(ENOUGH_STEPS, ENOUGH_FOR_A_CASE * cases), MOST_STEPS)
    else:
        step_limit = steps
    # Rounded up, so that the last measurement is that at the end.
    measure_every = -(-steps // measurements)
    return Budget(steps, step_limit, measure_every, measurements, measurement, workers,
                  steps * step_seconds + measuring + BESIDE, trials, step_seconds)


def network_voxels(shape: tuple[int, int, int], recipe: Recipe, multiple: tuple[int, int, int]) -> int:
    """Voxels that the network sees in all windows of a CT."""
    layout = plan(shape, recipe.preprocessing.patch_zyx, multiple)
    return int(np.prod(layout.window)) * int(np.prod([len(starts) for starts in layout.starts]))
