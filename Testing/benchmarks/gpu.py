"""Segmenting and a training step on a GPU against the CPU of the same computer, in at most three minutes.

    python Testing/benchmarks/gpu.py ../shared/data/ct/crlm_1004/image.nii.gz --json Resources/figures/speed_gpu.json

Of the CT: seconds of a first prediction and the median of `--repeats` more, peak of GPU memory, and how many voxels
have another label than on the CPU (float16 there, bfloat16 or float32 here). Of training: milliseconds of a step of the
embedded model's learner with the recipe for fine-tuning. Without a CT a phantom is segmented. What would take more than
`--limit` seconds in all is left out, and said. Fails where there is no GPU.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from training_step import labelled_patch, our_step

from PartialOrganSegLib.formats.reading import read_ct
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.process_settings import ask_for_large_pages
from PartialOrganSegLib.resources import resource
from PartialOrganSegLib.segmenting.predictor import Predictor
from PartialOrganSegLib.synthesis.phantom import make_phantom
from PartialOrganSegLib.training.recipe import load_recipe
from Testing.helpers.figure_rows import keep_rows

LIMIT_S = 180.0


def predictions(ct: Volume, device: str, repeats: int, until: float) -> tuple[list[float], np.ndarray]:
    """Seconds of one prediction after the other, the first among them, and the labels."""
    predictor = Predictor(load_bundle("embedded"), device=device)
    seconds: list[float] = []
    labels = np.zeros(0, np.uint8)
    while len(seconds) <= repeats and (not seconds or time.monotonic() < until):
        start = time.perf_counter()
        labels = predictor.predict(ct).labels.array
        seconds.append(time.perf_counter() - start)
    return seconds, labels


def step_seconds(device: torch.device, repeats: int) -> list[float]:
    """Wall seconds of training steps, after two that warm up."""
    learner = load_bundle("embedded").learner
    recipe = load_recipe(resource("recipes") / "finetune.yaml")
    run = our_step(learner, recipe, labelled_patch(learner), device)
    seconds = []
    for number in range(-2, repeats):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number >= 0:
            seconds.append(time.perf_counter() - start)
    return seconds


def main() -> None:
    """Prints and keeps the figures."""
    begin = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct", type=Path, nargs="?", help="default: a phantom")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="SECONDS")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to keep the figures as well")
    arguments = parser.parse_args()
    ask_for_large_pages()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no GPU here")
    ct = read_ct(arguments.ct) if arguments.ct else make_phantom((160, 220, 280), (2.0, 1.6, 1.6), 0)[0]
    row: dict[str, Any] = {"ct": arguments.ct.parent.name if arguments.ct else "phantom",
                           "size": " x ".join(map(str, ct.grid.size)), "date": datetime.date.today().isoformat(),
                           "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)}
    seconds, labels = predictions(ct, arguments.device, arguments.repeats, begin + arguments.limit / 3)
    row |= {"first_s": round(seconds[0], 2), "repeats": len(seconds) - 1,
            "seconds": round(float(np.median(seconds[1:] or seconds)), 2)}
    if device.type == "cuda":
        row["gpu_mib"] = torch.cuda.max_memory_allocated(device) >> 20
    print(json.dumps(row), flush=True)
    row["step_ms"] = round(1000 * float(np.median(step_seconds(device, arguments.repeats))), 1)
    print(json.dumps(row), flush=True)
    if time.monotonic() - begin < arguments.limit / 2:
        cpu_seconds, on_cpu = predictions(ct, "cpu", 0, 0.0)
        row |= {"cpu_s": round(cpu_seconds[0], 2), "other_labels": int((labels != on_cpu).sum()),
                "voxels": int(labels.size)}
    else:
        print("the CPU is left out: it would take too long")
    row["took_s"] = round(time.monotonic() - begin, 1)
    print(json.dumps(row), flush=True)
    if arguments.json:
        keep_rows(arguments.json, [row], ("ct", "device"))


if __name__ == "__main__":
    main()
