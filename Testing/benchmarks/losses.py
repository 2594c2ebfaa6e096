"""Cost of the losses of our own recipe within a training step on the CPU, against cross entropy + Dice.

    python Testing/benchmarks/losses.py --repeats 7

A step is forward, losses, backward, gradient clipping and AdamW with the embedded model's network, patch and
precision, once for each kind of case (full, partial, scribble, unlabelled). The stacks take turns within each repeat,
so that other load falls on all; a ratio is the median over repeats of ratios within a repeat, of wall time and of
processor time (which other load touches less). Milliseconds are processor time. `dense` is torch's own
cross entropy and a soft Dice over all voxels, `sampled` our marginal forms with the same `voxels_per_set` as the full
stack. The teacher's forward pass is no loss: its logits are given, and it is timed beside.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from PartialOrganSegLib.annotation import OUTSIDE
from PartialOrganSegLib.losses import Targets, WeightedLosses
from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.networks.precision import computing_in
from PartialOrganSegLib.training.training_step import precision_of

CPU = torch.device("cpu")
PATCH = (48, 128, 160)
CHANNELS = (16, 32, 64, 128, 160)
CLASSES = 17
FIRST = OUTSIDE + 1  # the code of class 0
KINDS = ("full", "partial", "scribble", "unlabelled")
PAIR = {"marginal_cross_entropy": 1.0, "marginal_dice": 1.0}
# The losses of our own recipe; their weights change nothing of what they cost.
STACK = {**PAIR, "exclusion_dice": 1.0, "exclusion_cross_entropy": 1.0, "entropy": 0.1, "intensity": 0.1, "prior": 0.1,
         "distillation": 1.0}


def candidate_table() -> torch.Tensor:
    """Anything, outside, the 17 single classes, and the merged background of a case with organs 1-4."""
    table = torch.zeros(CLASSES + FIRST + 1, CLASSES, dtype=torch.bool)
    table[:FIRST] = True
    table[FIRST:-1] = torch.eye(CLASSES, dtype=torch.bool)
    table[-1] = True
    table[-1, 1:5] = False
    return table


def code_map(kind: str) -> torch.Tensor:
    """(1, *PATCH) uint8: sixteen boxes of a third of the patch in all, or what the kind of case keeps of them."""
    labels = torch.zeros(PATCH, dtype=torch.int64)
    for organ in range(1, CLASSES):
        z, y, x = 12 * ((organ - 1) % 4), 16 + 24 * ((organ - 1) // 4), 20 + 7 * organ
        labels[z:z + 12, y:y + 24, x:x + 20] = organ
    codes = labels + FIRST
    if kind == "partial":
        codes[(labels == 0) | (labels > 4)] = CLASSES + FIRST
    elif kind == "scribble":
        codes[torch.rand(PATCH, generator=torch.Generator().manual_seed(0)) > 0.01] = 0
    elif kind == "unlabelled":
        codes[:] = 0
    return codes[None].to(torch.uint8)


def dense_losses(logits: torch.Tensor, targets: Targets) -> torch.Tensor:
    """Cross entropy and soft Dice over all voxels; a voxel that may be several classes counts as background."""
    logits, labels = logits.float(), targets.candidate_map.long() - FIRST
    labels = torch.where(labels >= CLASSES, 0, labels).clamp_min(0)
    probabilities = torch.softmax(logits, 1)
    truth = F.one_hot(labels, CLASSES).movedim(-1, 1)
    axes = (0, 2, 3, 4)
    dice = 2 * (probabilities * truth).sum(axes) / (probabilities.sum(axes) + truth.sum(axes)).clamp_min(1e-6)
    return F.cross_entropy(logits, labels) + 1 - dice.mean()


def training_step(network: nn.Module, optimiser: torch.optim.Optimizer,
                  loss: Callable[[torch.Tensor, Targets], torch.Tensor], image: torch.Tensor, codes: torch.Tensor,
                  table: torch.Tensor, voxels_per_set: int, teacher: torch.Tensor) -> tuple[float, float]:
    """Wall and processor seconds of a step."""
    wall, processor = time.perf_counter(), time.process_time()
    with computing_in(CPU, precision_of(True, CPU)):
        logits = network(image)
    value = loss(logits, Targets(codes, table, image, teacher, voxels_per_set=voxels_per_set))
    optimiser.zero_grad(set_to_none=True)
    value.backward()
    # Part of every real step, so that the ratio is one of steps and not of losses alone.
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimiser.step()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    """Prints a table of milliseconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--voxels-per-set", type=int, default=60000, help="as in the recipe; 0: all")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    network = build_network("light_unet", 1, CLASSES, channels=CHANNELS).to(memory_format=torch.channels_last_3d)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4)
    table = candidate_table()
    image = torch.randn(1, 1, *PATCH).to(memory_format=torch.channels_last_3d)
    with torch.no_grad(), computing_in(CPU, precision_of(True, CPU)):
        start = time.process_time()
        teacher = network(image)
        forward = time.process_time() - start
    pair = WeightedLosses(PAIR)
    stack = WeightedLosses(STACK, {"prior": {"q": [16.0] + [1.0] * (CLASSES - 1)}})
    stacks = {"dense": dense_losses, "sampled": lambda *batch: pair(*batch)[0], "ours": lambda *batch: stack(*batch)[0]}
    seconds: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for repeat in range(-1, arguments.repeats):  # the first is warm-up
        for kind in arguments.kinds:
            codes = code_map(kind)
            # The stacks alternate within a repeat: what else the machine does meanwhile falls on all.
            for name, loss in stacks.items():
                step_seconds = training_step(network, optimiser, loss, image, codes, table, arguments.voxels_per_set,
                                             teacher)
                if repeat >= 0:
                    seconds.setdefault((kind, name), []).append(step_seconds)
    print(f"{'case':<12}" + "".join(f"{name + ' ms':>12}" for name in stacks)
          + "".join(f"{'ours/' + name:>14}{'(wall)':>8}" for name in ("dense", "sampled")))
    ratios: dict[tuple[str, int], list[float]] = {}
    for kind in arguments.kinds:
        line = f"{kind:<12}"
        for name in stacks:
            line += f"{1000 * statistics.median(processor for _, processor in seconds[kind, name]):>12.0f}"
        for name in ("dense", "sampled"):
            for clock, width in ((1, 14), (0, 8)):
                quotients = [ours[clock] / others_seconds[clock]
                        for ours, others_seconds in zip(seconds[kind, "ours"], seconds[kind, name], strict=True)]
                ratios.setdefault((name, clock), []).extend(quotients)
                line += f"{statistics.median(quotients):>{width}.3f}"
        print(line)
    overall = {key: statistics.median(values) for key, values in ratios.items()}
    print("median of all: " + ", ".join(f"{overall[name, 1]:.3f} of {name} ({overall[name, 0]:.3f} of its wall time)"
                                        for name in ("dense", "sampled"))
          + f"; teacher's forward pass {1000 * forward:.0f} ms")


if __name__ == "__main__":
    main()
