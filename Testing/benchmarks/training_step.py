"""The parts of a training step against a plain PyTorch loop with cross entropy and Dice on the same network.

    python Testing/benchmarks/training_step.py --repeats 7 --json Resources/figures/speed_training.json

`ours` is the library's own step (training.training_step) on fully labelled patches with marginal cross entropy and
Dice, as the recipe for fine-tuning draws its voxels; `recipe` the same with all losses of that recipe, the frozen start
model's forward pass included; `plain` the loop that everybody writes: autocast, torch's cross entropy and a soft Dice
over all voxels, backward, AdamW. Network and patch are those of the embedded model's learner, and the precision is the
one that fine-tuning takes on this processor. The three take turns within a repeat, and a ratio is the median of the
repeats' ratios, of processor time. `loading` is the time that cutting and augmenting one patch takes, in other
processes while the network learns.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from PartialOrganSegLib.annotation import OUTSIDE
from PartialOrganSegLib.finetuning.decisions import training_precision
from PartialOrganSegLib.loading.augmentation import Augmentation
from PartialOrganSegLib.losses import Targets
from PartialOrganSegLib.models.bundle import Bundle, load_bundle
from PartialOrganSegLib.networks import channels_last
from PartialOrganSegLib.process_settings import ask_for_large_pages
from PartialOrganSegLib.resources import resource
from PartialOrganSegLib.training.distributed import Processes
from PartialOrganSegLib.training.objective import Objective
from PartialOrganSegLib.training.recipe import Recipe, load_recipe
from PartialOrganSegLib.training.training_step import TrainingStep
from Testing.helpers.figure_rows import keep_rows

CPU = torch.device("cpu")
FIRST = OUTSIDE + 1  # the code of class 0
AIM = 1.1
PARTS = ("forward", "losses", "backward", "optimiser")


class Clock:
    """Processor seconds of parts of a step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose time is added to a part."""
        def timed(*arguments: Any, **settings: Any) -> Any:
            start = time.process_time()
            result = function(*arguments, **settings)
            self.seconds[part] = self.seconds.get(part, 0.0) + time.process_time() - start
            return result
        return timed


def our_step(learner: Bundle, recipe: Recipe, targets: Targets,
             device: torch.device = CPU) -> Callable[[], dict[str, float]]:
    """A function that makes one step of the library and gives its parts' processor seconds."""
    network, teacher = (channels_last(learner.load_network(device)) for _ in range(2))
    stage = recipe.resolved_stages()[0]
    step = TrainingStep(network.train().requires_grad_(), teacher.eval(), targets.candidate_sets.to(device), device,
                        training_precision(device), Processes())
    objective = Objective(stage, learner.label_space, [1.0] * learner.label_space.class_count, teacher=True)
    step.begin(stage, objective)

    def run() -> dict[str, float]:
        clock = Clock()
        forwards = (network.forward, teacher.forward)
        loss_forward, optimiser_step = objective.forward, step.optimiser.step
        backward = torch.Tensor.backward
        network.forward = clock.around("forward", forwards[0])
        teacher.forward = clock.around("start model", forwards[1])
        step.objective.forward = clock.around("losses", loss_forward)
        step.optimiser.step = clock.around("optimiser", optimiser_step)
        torch.Tensor.backward = clock.around("backward", backward)
        start = time.process_time()
        try:
            step.step(1, 0, targets)
        finally:
            total = time.process_time() - start
            torch.Tensor.backward = backward
            network.forward, teacher.forward = forwards
            step.objective.forward, step.optimiser.step = loss_forward, optimiser_step
        return {**clock.seconds, "total": total}

    return run


def plain_step(learner: Bundle, targets: Targets) -> Callable[[], dict[str, float]]:
    """The same of a plain loop."""
    network = channels_last(learner.load_network()).train().requires_grad_()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01)
    labels = (targets.candidate_map.long() - FIRST).clamp_min(0)
    classes = learner.label_space.class_count

    def loss_of(outputs: list[torch.Tensor]) -> torch.Tensor:
        total = torch.zeros(())
        for number, logits in enumerate(outputs):
            # Deep supervision as nnU-Net has it: labels by nearest voxel, each scale half the weight of the finer one.
            truth = F.interpolate(labels[:, None].float(), logits.shape[2:], mode="nearest")[:, 0].long()
            logits = logits.float()
            probabilities = torch.softmax(logits, 1)
            one_hot = F.one_hot(truth, classes).movedim(-1, 1)
            axes = (0, 2, 3, 4)
            overlap = 2 * (probabilities * one_hot).sum(axes)
            dice = overlap / (probabilities.sum(axes) + one_hot.sum(axes)).clamp_min(1e-6)
            total = total + (F.cross_entropy(logits, truth) + 1 - dice.mean()) / 2 ** number
        return total

    def run() -> dict[str, float]:
        clock = Clock()
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=bool(training_precision(CPU))):
            outputs = clock.around("forward", network)(targets.image)
        loss = clock.around("losses", loss_of)([outputs] if isinstance(outputs, torch.Tensor) else outputs)
        optimiser.zero_grad(set_to_none=True)
        clock.around("backward", loss.backward)()
        clock.around("optimiser", optimiser.step)()
        return {**clock.seconds, "total": time.process_time() - start}

    return run


def labelled_patch(learner: Bundle) -> Targets:
    """A patch of noise in which a box of voxels is labelled as each organ, and all others as background."""
    classes, patch = learner.label_space.class_count, learner.preprocessing.patch_zyx
    labels = torch.zeros(patch, dtype=torch.uint8)
    for organ in range(1, classes):
        z, y, x = 10 * ((organ - 1) % 4), 20 * ((organ - 1) // 4), 7 * organ
        labels[z:z + 10, y:y + 18, x:x + 16] = organ
    # A row for each class after those that leave a voxel open.
    sets = torch.cat([torch.ones(FIRST, classes, dtype=torch.bool), torch.eye(classes, dtype=torch.bool)])
    image = torch.randn(1, 1, *patch).contiguous(memory_format=torch.channels_last_3d)
    return Targets(labels[None] + FIRST, sets, image)


def loading_seconds(recipe: Recipe, learner: Bundle) -> float:
    """Processor seconds of one augmented patch."""
    settings = learner.preprocessing
    hu = np.random.default_rng(0).normal(0, 200, [size * 5 // 4 for size in settings.patch_zyx]).astype(np.int16)
    cut = Augmentation(settings.patch_zyx, settings.spacing_zyx, settings.clip_hu, settings.subtract, settings.divide)
    generator, centre = np.random.default_rng(0), [size // 2 for size in hu.shape]
    times = []
    for _ in range(6):
        start = time.process_time()
        cut(hu, hu.astype(np.uint8), centre, generator)
        times.append(time.process_time() - start)
    return float(np.median(times[1:]))


def main() -> None:
    """Prints and keeps the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--busy", action="store_true", help="other programs ran meanwhile")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to keep the table as well")
    arguments = parser.parse_args()
    ask_for_large_pages()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    learner = load_bundle("embedded").learner
    recipe = load_recipe(resource("recipes") / "finetune.yaml")
    pair = recipe.changed(losses={"marginal_cross_entropy": 1.0, "marginal_dice": 1.0}, loss_arguments={})
    targets = labelled_patch(learner)
    loops = {"plain": plain_step(learner, targets), "ours": our_step(learner, pair, targets),
             "recipe": our_step(learner, recipe, targets)}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in loops}
    for repeat in range(-1, arguments.repeats):  # the first is warm-up
        for name, run in loops.items():
            seconds = run()
            if repeat >= 0:
                runs[name].append(seconds)
    loading = loading_seconds(recipe, learner)
    rows = []
    for name, repeats in runs.items():
        ratios = [one["total"] / plain["total"] for one, plain in zip(repeats, runs["plain"], strict=True)]
        median = {part: round(float(np.median([one.get(part, 0.0) for one in repeats])), 4)
                  for part in (*PARTS, "start model", "total")}
        rows.append({"loop": name, "date": datetime.date.today().isoformat(), "repeats": arguments.repeats,
                     "threads": arguments.threads, "busy": arguments.busy, "seconds": median, "aim": AIM,
                     "ratio": round(float(np.median(ratios)), 3), "ratios": np.round(ratios, 3).tolist(),
                     "loading_s": round(loading, 4)})
        print(json.dumps(rows[-1]), flush=True)
    if arguments.json:
        keep_rows(arguments.json, rows, ("loop", "threads"))


if __name__ == "__main__":
    main()
