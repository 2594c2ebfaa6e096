"""Time of a training step beside busy neighbours, by what PyTorch's threads do while they wait for one another.

    python Testing/benchmarks/training_neighbours.py --repeats 3 --json Resources/figures/speed_training_neighbours.json

`asleep` is what the command does (`process_settings.let_threads_sleep`), `spinning` PyTorch's own way, both with a
thread a core; `free cores` spins with as many threads as there are cores without a neighbour, one at least. A step is
forward and backward of the embedded model's learner on a patch of 64 x 96 x 96 voxels in float32. Ways take turns, each
in a process of its own; ratios are to `spinning` without neighbours of the same repeat.
"""

from __future__ import annotations

import argparse
import datetime
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from PartialOrganSegLib.process_settings import WAIT_POLICY, ask_for_large_pages
from PartialOrganSegLib.segmenting.cores import usable_cores
from Testing.helpers.busy_neighbours import busy_neighbours
from Testing.helpers.figure_rows import keep_rows

NEIGHBOURS = (0, 1, 2)
WAYS = ("spinning", "asleep", "free cores")
AIM = 1.3
STEPS, PATCH = 4, (64, 96, 96)


def seconds_a_step() -> float:
    """The median over steps, without the first."""
    ask_for_large_pages()
    import torch

    from PartialOrganSegLib.models.bundle import load_bundle
    from PartialOrganSegLib.networks import channels_last

    network = channels_last(load_bundle("embedded").learner.load_network()).train().requires_grad_(True)
    patch = torch.randn(1, 1, *PATCH).to(memory_format=torch.channels_last_3d)
    seconds = []
    for _ in range(STEPS):
        start = time.perf_counter()
        logits = network(patch)
        finest = logits[0] if isinstance(logits, list) else logits
        finest.square().mean().backward()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[1:]))


def seconds_beside(neighbours: int, way: str, cores: int) -> float:
    """As `seconds_a_step`, in a process beside so many busy ones."""
    environment = dict(os.environ)
    environment.pop(WAIT_POLICY, None)
    environment["OMP_NUM_THREADS"] = str(cores)
    if way == "asleep":
        environment[WAIT_POLICY] = "passive"
    elif way == "free cores":
        environment["OMP_NUM_THREADS"] = str(max(1, cores - neighbours))
    with busy_neighbours(neighbours):
        answer = subprocess.run([sys.executable, __file__, "--step"], env=environment, check=True, capture_output=True,
                                text=True)
    return float(answer.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to keep the table as well")
    parser.add_argument("--step", action="store_true", help="print the seconds of a step here, as it is")
    arguments = parser.parse_args()
    if arguments.step:
        print(seconds_a_step())
        return
    cores = usable_cores()
    seconds = np.array([[[seconds_beside(count, way, cores) for way in WAYS] for count in NEIGHBOURS]
                        for _ in range(arguments.repeats)])
    ratios = seconds / seconds[:, :1, :1]
    rows = []
    for row, count in enumerate(NEIGHBOURS):
        for column, way in enumerate(WAYS):
            rows.append({"neighbours": count, "way": way, "cores": cores, "date": datetime.date.today().isoformat(),
                         "repeats": arguments.repeats,
                         "seconds": round(float(np.median(seconds[:, row, column])), 2),
                         "ratios": np.round(ratios[:, row, column], 2).tolist(),
                         "ratio": round(float(np.median(ratios[:, row, column])), 2),
                         "aim": round((1 + count / cores) * AIM, 2)})
            print(rows[-1])
    if arguments.json:
        keep_rows(arguments.json, rows, ("neighbours", "way"))


if __name__ == "__main__":
    main()
