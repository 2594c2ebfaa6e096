"""How many steps fit into the minutes there are: found by a few steps on made-up patches."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from ..annotation import CandidateTable
from ..evaluation.metrics import joint_counts
from ..loading.augmentation import Augmentation
from ..models.bundle import Bundle
from ..networks import channels_last
from ..organs import LabelSpace
from ..segmenting.backend import choose_precision
from ..segmenting.windows import plan
from ..training.distributed import Processes
from ..training.learner import Learner
from ..training.objective import Objective
from ..training.recipe import Recipe
from ..training.transfer import ClassMap, moved_arguments
from ..training.working_prediction import predicted_classes
from .cases import TakenCase, labelled_patch

CPU_MINUTES, GPU_MINUTES = 12.0, 1.5  # so that 15 and 2 are kept where the machine slows down
LEAST_STEPS, MOST_STEPS = 40, 2000  # fewer teach nothing
# 600 steps on three cases brought the next patient no more than 200 did; for more cases it is a guess.
ENOUGH_STEPS, ENOUGH_FOR_A_CASE = 300, 100
MEASUREMENTS = 4  # of the Dice on the way, the last at the end; and one before the first step
LARGEST_SHARE = 0.3  # of the time for them
BESIDE = 15.0  # seconds on two slow cores: reading the cases once more, starting loaders, writing the model
MOST_LOADERS = 8
MOST_SAMPLES = 2  # patches of cases, and as many of replay, that a step is timed on


@dataclass(frozen=True)
class Speed:
    """Seconds on this machine: of a step, of measuring one voxel of a window, of loading one patch."""

    step: float
    voxel: float
    patch: float


@dataclass(frozen=True)
class Budget:
    """What fits: steps, after how many of them Dice is measured, loader processes, and the whole time in seconds."""

    steps: int
    every: int
    workers: int
    seconds: float


def default_minutes(device: torch.device) -> float:
    """The time a run takes when nobody says otherwise."""
    return GPU_MINUTES if device.type == "cuda" else CPU_MINUTES


def measure_speed(recipe: Recipe, start: Bundle, label_space: LabelSpace, device: torch.device,
                  groups: Sequence[tuple[float, Sequence[TakenCase]]]) -> Speed:
    """Times a step of the recipe with the start model's network and a teacher of the same size.

    `groups`: shares of the patches and the cases these are from; how much of a patch is labelled, and as how many
    organs, decides what the losses cost. Images are made up.
    """
    table = CandidateTable(label_space.class_count)
    samples = [(share, [_in_table(case, recipe.preprocessing.patch_zyx, table) for case in cases[:MOST_SAMPLES]])
               for share, cases in groups if cases]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):  # of no other GPU there may be
        learner, image = _trial(recipe, start, label_space, table, device)
        steps = 0.0
        for share, patches in samples:
            for patch in patches:
                codes = torch.from_numpy(patch).repeat(recipe.batch_size, 1, 1, 1)
                seconds = _quickest(partial(learner.step, 1, 0, image, codes), device)
                steps += share / len(patches) * seconds
        measured = _quickest(partial(_measure, recipe, learner, image, label_space.class_count), device)
    hu = np.zeros([size * 5 // 4 for size in recipe.preprocessing.patch_zyx], np.int16)
    settings = recipe.preprocessing
    cut = Augmentation(settings.patch_zyx, settings.spacing_zyx, settings.clip_hu, settings.subtract, settings.divide)
    generator = np.random.default_rng(0)
    centre = [size // 2 for size in hu.shape]
    patch = _quickest(lambda: cut(hu, hu.astype(np.uint8), centre, generator), torch.device("cpu"))
    return Speed(steps / sum(share for share, _ in samples), measured / image[0].numel(), patch)


def _measure(recipe: Recipe, learner: Learner, image: torch.Tensor, classes: int) -> None:
    """What validation does with one window, of `image` (B, 1, z, y, x)."""
    found = predicted_classes(learner.teacher, image[0, 0].numpy(), recipe.preprocessing.for_bundle(), classes,
                              learner.device)
    joint_counts(found, found, (classes, classes))


def _in_table(case: TakenCase, patch_zyx: Sequence[int], table: CandidateTable) -> np.ndarray:
    """(z, y, x) uint8: the case's labelled patch in the codes of `table`."""
    return np.array([table.code(classes) for classes in case.sets], np.uint8)[labelled_patch(case, patch_zyx)]


def _trial(recipe: Recipe, start: Bundle, label_space: LabelSpace, table: CandidateTable,
           device: torch.device) -> tuple[Learner, torch.Tensor]:
    """A learner to be thrown away, and an image (B, 1, z, y, x) for it."""
    from ..networks import build_network

    arguments = moved_arguments(start.network_arguments, ClassMap.between(start.label_space, label_space))
    networks = [channels_last(build_network(start.network_name, 1, label_space.class_count, **arguments).to(device))
                for _ in range(2)]
    stage = recipe.resolved_stages()[0]
    learner = Learner(networks[0], networks[1].eval(), torch.from_numpy(table.table).to(device), device,
                      recipe.half_precision, Processes())
    even = [1.0] * label_space.class_count
    learner.begin(stage, Objective(stage, label_space, even, teacher=True))
    return learner, torch.randn(recipe.batch_size, 1, *recipe.preprocessing.patch_zyx)


def _quickest(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the quicker of two goes, after one that does not count."""
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()
        times.append(time.perf_counter() - begin)
    return min(times[1:])


def make_budget(minutes: float, speed: Speed, recipe: Recipe, measured_shapes: Sequence[tuple[int, int, int]],
                multiple: tuple[int, int, int], device: torch.device, cases: int, steps: int | None = None,
                shares: int = 0) -> Budget:
    """Steps and measurements for at most `minutes`, as many as `cases` have to say; or the time that `steps` take.

    `cases`: how many labelled ones are trained on. `measured_shapes` (z, y, x) are those of the CTs that Dice is
    measured on, `multiple` the network's. `shares` of the start model are tried at the end, a measurement each.
    """
    cores = os.cpu_count() or 1
    loading = recipe.batch_size * speed.patch
    if device.type == "cpu":  # loaders and steps share the cores
        workers, each = 1, speed.step + loading / cores
    else:
        workers = max(1, min(MOST_LOADERS, cores - 1))
        each = max(speed.step, loading / workers)
    measuring = sum(_network_voxels(shape, recipe, multiple) for shape in measured_shapes) * speed.voxel
    goes = MEASUREMENTS if not measuring else int(min(
        MEASUREMENTS, max(1, LARGEST_SHARE * 60 * minutes // measuring - 1 - shares)))
    measuring *= goes + 1 + shares
    if steps is None:
        steps = int((60 * minutes - BESIDE - measuring) / each)
        steps = min(max(steps, LEAST_STEPS), max(ENOUGH_STEPS, ENOUGH_FOR_A_CASE * cases), MOST_STEPS)
    return Budget(steps, -(-steps // goes), workers, steps * each + measuring + BESIDE)


@torch.inference_mode()
def frozen_seconds(start: Bundle, measured_shapes: Sequence[tuple[int, int, int]], device: torch.device) -> float:
    """How long the networks of a joined start model that do not learn take to see the CTs that Dice is measured on.

    `measured_shapes` (z, y, x) at the learner's spacing. They are asked once a CT; 0 for a model of one network.
    """
    if not measured_shapes:
        return 0.0
    seconds, working = 0.0, np.array(start.learner.preprocessing.spacing_zyx)
    for member in start.members[:-1]:
        own = member.bundle.preprocessing
        precision = choose_precision("auto", device, member.bundle.precision)
        with torch.random.fork_rng(devices=[]):
            network = channels_last(member.bundle.load_network(device))
        image = torch.zeros(1, 1, *own.patch_zyx, device=device).contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            voxel = _quickest(partial(network, image), device) / image.numel()
        for shape in measured_shapes:
            sizes = tuple(max(1, round(size)) for size in np.array(shape) * working / own.spacing_zyx)
            layout = plan((sizes[0], sizes[1], sizes[2]), own.patch_zyx, getattr(network, "size_multiple", (1, 1, 1)),
                          getattr(network, "slices", None), own.overlap, own.fitted)
            seconds += voxel * int(np.prod(layout.window)) * int(np.prod([len(starts) for starts in layout.starts]))
    return seconds


def _network_voxels(shape: tuple[int, int, int], recipe: Recipe, multiple: tuple[int, int, int]) -> int:
    """Voxels that the network sees in all windows of a CT."""
    layout = plan(shape, recipe.preprocessing.patch_zyx, multiple)
    return int(np.prod(layout.window)) * int(np.prod([len(starts) for starts in layout.starts]))
