"""How fast this machine trains and measures: found by a few steps on made-up patches."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from ..annotation import OUTSIDE, UNKNOWN, CandidateTable
from ..errors import Code, UserError
from ..evaluation.metrics import joint_counts
from ..formats.reading import read_labelmap
from ..loading.augmentation import Augmentation
from ..loading.cache import codes_at
from ..loading.targets import Targets
from ..models.bundle import Bundle, Member
from ..networks import build_network, channels_last
from ..networks.precision import computing_in
from ..organs import LabelSpace
from ..segmenting.backend import choose_precision
from ..segmenting.window_layout import plan
from ..training.distributed import Processes
from ..training.frozen_members import frozen_members
from ..training.memory import is_out_of_memory
from ..training.objective import Objective
from ..training.recipe import Recipe
from ..training.training_step import NotFiniteError, TrainingStep
from ..training.transfer import ClassMap, moved_arguments
from ..training.working_prediction import predicted_classes
from .cases import PreparedCase

# Patches of cases, and as many of replay, that a step is timed on. A step takes seconds, and the plan is made anew from
# the real ones.
MOST_SAMPLES = 1


@dataclass(frozen=True)
class Speed:
    """Seconds on this machine: of a step, of measuring one voxel of a window, of loading one patch."""

    step: float
    voxel: float
    patch: float


@dataclass(frozen=True)
class CaseGroup:
    """Cases that make up this `share` of the patches."""

    share: float
    cases: Sequence[PreparedCase]


def fitting_speed(recipes: Sequence[Recipe], learner: Bundle, space: LabelSpace, device: torch.device,
                  groups: Sequence[CaseGroup]) -> tuple[int, Speed]:
    """The number of the first of `recipes` that the memory is enough for, and its speed; see `measure_speed`.

    Raises UserError where the memory is not enough for the last, and for a learning rate at which a step diverges.
    """
    for number, recipe in enumerate(recipes):
        try:
            return number, measure_speed(recipe, learner, space, device, groups)
        except NotFiniteError as error:
            rate = recipe.resolved_stages()[0].optimiser.learning_rate
            raise UserError(code=Code.DIVERGED, subject="optimiser.learning_rate",
                            found=f"{error} in a trial step", hint=f"expected a lower one than {rate}") from None
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
    raise UserError(code=Code.NO_MEMORY, subject="preprocessing.patch_zyx",
                    found=f"out of memory on {device} with patches of {recipes[-1].preprocessing.patch_zyx}",
                    hint="expected smaller ones (--set preprocessing.patch_zyx=[...]) or another --device")


def measure_speed(recipe: Recipe, learner: Bundle, space: LabelSpace, device: torch.device,
                  groups: Sequence[CaseGroup]) -> Speed:
    """Times a step of the recipe with the network of the start model's `learner` and a teacher of the same size.

    How much of a patch is labelled, and as how many organs, decides what the losses cost: patches are those of
    `groups`. Images are made up.
    """
    table = CandidateTable(space.class_count)
    preprocessing = recipe.preprocessing
    samples = []
    for group in groups:
        if group.cases:
            patches = [_patch_in_table(case, preprocessing.patch_zyx, table) for case in group.cases[:MOST_SAMPLES]]
            samples.append((group.share, patches))
    # The run's random numbers must not depend on the trial. Of no other GPU there may be.
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        training_step, image = _trial(recipe, learner, space, table, device)
        seconds, is_warm = 0.0, False
        for share, patches in samples:
            for patch in patches:
                targets = Targets(torch.from_numpy(patch).repeat(recipe.batch_size, 1, 1, 1),
                                  torch.from_numpy(table.table), image)
                step = partial(training_step.step, 1, 0, targets)
                # The first step of all chooses and prepares kernels.
                if not is_warm:
                    _seconds(step, device)
                is_warm = True
                seconds += share / len(patches) * _seconds(step, device)
        measuring = _quickest(partial(_measure, recipe, training_step, image, space.class_count), device)
    # Larger than the patch, as augmentation looks around it.
    hu = np.zeros([size * 5 // 4 for size in preprocessing.patch_zyx], np.int16)
    cut = Augmentation(preprocessing.patch_zyx, preprocessing.spacing_zyx, preprocessing.clip_hu,
                       preprocessing.subtract, preprocessing.divide)
    generator = np.random.default_rng(0)
    centre = [size // 2 for size in hu.shape]
    loading = _quickest(lambda: cut(hu, hu.astype(np.uint8), centre, generator), torch.device("cpu"))
    return Speed(seconds / sum(share for share, _ in samples), measuring / image[0].numel(), loading)


def _measure(recipe: Recipe, training_step: TrainingStep, image: torch.Tensor, classes: int) -> None:
    """What validation does with one window, of `image` (B, 1, z, y, x)."""
    assert training_step.teacher is not None
    labels = predicted_classes(training_step.teacher, image[0, 0].numpy(), recipe.preprocessing.for_bundle(), classes,
                               training_step.device, training_step.autocast)
    joint_counts(labels, labels, (classes, classes))


def _trial(recipe: Recipe, learner: Bundle, space: LabelSpace, table: CandidateTable,
           device: torch.device) -> tuple[TrainingStep, torch.Tensor]:
    """A training step to be thrown away, and an image (B, 1, z, y, x) for it."""
    arguments = moved_arguments(learner.network_arguments, ClassMap.between(learner.label_space, space))
    network, teacher = (channels_last(build_network(learner.network_name, 1, space.class_count, **arguments).to(device))
                        for _ in range(2))
    stage = recipe.resolved_stages()[0]
    training_step = TrainingStep(network, teacher.eval(), torch.from_numpy(table.table).to(device), device,
                            recipe.half_precision, Processes())
    training_step.begin(stage, Objective(stage, space, [1.0] * space.class_count, teacher=True))
    return training_step, torch.randn(recipe.batch_size, 1, *recipe.preprocessing.patch_zyx)


def _patch_in_table(case: PreparedCase, patch_zyx: Sequence[int], table: CandidateTable) -> npt.NDArray[np.uint8]:
    """(z, y, x): the case's labelled patch in the codes of `table`."""
    return table.translation(case.candidate_sets)[labelled_patch(case, patch_zyx)]


def labelled_patch(case: PreparedCase, patch_zyx: Sequence[int]) -> npt.NDArray[np.uint8]:
    """(z, y, x) of shape `patch_zyx`: the case's candidate map at the working spacing, canonical axes, around the
    middle of what is labelled. `OUTSIDE` where it reaches beyond the CT."""
    codes = codes_at(read_labelmap(case.candidate_map).canonical().array, case.shape)
    labelled = np.argwhere(codes != UNKNOWN)
    middle = labelled.mean(0) if len(labelled) else np.array(codes.shape) / 2
    window = []
    for centre, size, length in zip(middle, patch_zyx, codes.shape, strict=True):
        first = round(float(np.clip(centre - size / 2, 0, max(0, length - size))))
        window.append(slice(first, first + size))
    inside = codes[tuple(window)]
    patch = np.full(tuple(patch_zyx), OUTSIDE, np.uint8)
    patch[tuple(slice(0, size) for size in inside.shape)] = inside
    return patch


def frozen_seconds(start: Bundle, measured_shapes: Sequence[tuple[int, int, int]], device: torch.device,
                   beside: bool = False) -> float:
    """How long the networks of a start model that do not learn (`training.frozen_members`) take to see the CTs that
    Dice is measured on.

    `measured_shapes` (z, y, x) at the learner's spacing. They see a CT once; 0 for a model of one network.
    """
    if not measured_shapes:
        return 0.0
    return sum(network_seconds(frozen_members(start, beside), measured_shapes,
                               start.learner.preprocessing.spacing_zyx, device))


@torch.inference_mode()
def network_seconds(members: Sequence[Member], shapes: Sequence[tuple[int, int, int]],
                    spacing_zyx: Sequence[float], device: torch.device) -> list[float]:
    """How long each network takes to see CTs of these `shapes` (z, y, x) at a spacing in mm."""
    seconds_of_members, working_spacing = [], np.array(spacing_zyx)
    for member in members:
        seconds = 0.0
        preprocessing = member.bundle.preprocessing
        precision = choose_precision("auto", device, member.bundle.precision)
        with torch.random.fork_rng(devices=[]):
            network = channels_last(member.bundle.learner.load_network(device))
        image = torch.zeros(1, 1, *preprocessing.patch_zyx, device=device)
        image = image.contiguous(memory_format=torch.channels_last_3d)
        with computing_in(device, precision):
            seconds_per_voxel = _quickest(partial(network, image), device) / image.numel()
        for shape in shapes:
            sizes = np.maximum(1, np.round(np.array(shape) * working_spacing / preprocessing.spacing_zyx)).astype(int)
            layout = plan((int(sizes[0]), int(sizes[1]), int(sizes[2])), preprocessing.patch_zyx,
                          getattr(network, "size_multiple", (1, 1, 1)), getattr(network, "slices", None),
                          preprocessing.overlap, preprocessing.fitted)
            windows = int(np.prod([len(starts) for starts in layout.starts]))
            seconds += seconds_per_voxel * int(np.prod(layout.window)) * windows
        # An ensemble's networks are alike, and each sees the CT.
        seconds_of_members.append(seconds * len(member.bundle.one_network_each))
    return seconds_of_members


def _quickest(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the quicker of two runs, after one that does not count."""
    _seconds(work, device)
    return min(_seconds(work, device), _seconds(work, device))


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Of one run."""
    begin = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter() - begin
