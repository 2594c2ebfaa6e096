"""Trains the network that judges what a stroke points at (`PartialOrganSegLib.refining.judgement`), in two steps.

    python scripts/stroke_judgement.py collect -o output/judgement --starts output/refine/starts/light-0.3.0 \\
        --errors as_they_are cut cut_short balls short --cases crlm_1004 crlm_1006
    python scripts/stroke_judgement.py fit -o output/judgement --to judgement.safetensors --without crlm_1004

`collect`: the simulated user of Testing/benchmarks/refine.py corrects each organ of each CT with up to five strokes,
short ones with four tenths of their length. The errors are a model's, or with a part of the organ taken away (`cut`),
or with three balls at its border added or taken away (`balls`). Of the voxels that a stroke puts in question up to 1500
are kept, near ones four times as often: the evidence, whether the reference says the stroke's label, and how much of
its organ they are. `--starts` is a folder with a label map a CT, as refine.py keeps them.

`fit`: a perceptron by cross entropy, in which a voxel weighs by one over its organ's volume, as it does in Dice.

The one that ships was trained on eleven CTs of ../shared/data/manifest.yaml, all but hcc_009, hcc_011 and
pancreas_cb_001, with labels of light-0.3.0 (all five kinds of errors; 82 of 99 organs with short strokes) and as they
are of the second network of the embedded model 0.5.1 and of the three versions of the embedded model before 0.3.0,
whose weights are in the history (the second with `--weight 0.3`, the first, of 11 organs, with 0.1). A draft of this
script made it, which drew four strokes instead of five where errors were not as they are.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from PartialOrganSegLib.imaging.shapes import Box3, Mask
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.refining.coarse import block_means, block_sizes
from PartialOrganSegLib.refining.evidence import NAMES, candidates, table_of
from PartialOrganSegLib.refining.neighbourhood import WORKING_MM, Neighbourhood, Region
from PartialOrganSegLib.refining.rule import Rule
from PartialOrganSegLib.refining.session import RefineSession
from Testing.helpers.stroke_benchmark import MANIFEST, cases_of
from Testing.helpers.stroke_user import INTESTINE, LEAST_VOXELS, Scene, User, load_scene

MARGIN_MM = 80.0
STROKES, SHORT_SHARE = 5, 0.4
SAMPLES, NEAR_MM, NEAR_TIMES = 1500, 20.0, 4.0
LEAST_MM3 = 500.0  # an organ of less counts as one of this
# How much a kind of errors counts. Whole parts that are missing are rarer than those that a model makes.
ERRORS = {"as_they_are": 3.0, "short": 2.0, "cut": 0.4, "cut_short": 0.4, "balls": 0.3}
MOST_WEIGHT = 400.0  # of a voxel, in means
HIDDEN, EPOCHS, BATCH, RATE = 32, 10, 8192, 5e-3


@dataclass(frozen=True)
class Samples:
    """`table` (n, `len(NAMES)`) float16; `truth` (n,) what part of a voxel has the stroke's label; `weight` (n,)."""

    table: np.ndarray
    truth: np.ndarray
    weight: np.ndarray


class RecordingSession(RefineSession):
    """A session that keeps samples of what its strokes put in question."""

    def __init__(self, scene: Scene, mm3: np.ndarray, generator: np.random.Generator) -> None:
        """`mm3`: (256,) of what the reference has of each label."""
        super().__init__(scene.ct, Volume(scene.start, scene.ct.grid), WORD16)
        self._scene, self._mm3, self._generator = scene, mm3, generator
        self.samples: list[Samples] = []

    def _spread(self, region: Region, stroke: Mask, value: int, box: Box3) -> Mask:
        block = block_sizes(region.spacing, WORKING_MM)
        z, y, x = (mm * length for mm, length in zip(region.spacing, block, strict=True))
        place = Neighbourhood(region, stroke, value, block, (z, y, x))
        open_labels = (region.labels != value) & ~self._scene.undecided[box]
        free = block_means(open_labels, block)
        true = block_means((self._scene.reference[box] == value) & open_labels, block)
        chosen = candidates(place) & (free > 0)
        often = np.where(place.distance < NEAR_MM, NEAR_TIMES, 1.0)
        often = np.minimum(1, often * SAMPLES / max(float(often[chosen].sum()), 1e-9))
        chosen &= self._generator.random(chosen.shape) < often
        if chosen.any():
            table = table_of(place, Rule(place), chosen)
            weight = free / often * (z * y * x / self._mm3[value])
            self.samples.append(Samples(table.astype(np.float16), (true / np.maximum(free, 1e-6))[chosen],
                                        weight[chosen].astype(np.float32)))
        return super()._spread(region, stroke, value, box)


def samples_of(whole: Scene, organ: int, errors: str, seed: int) -> Samples | None:
    """Of the strokes that correct one organ; None where it needs none."""
    generator = np.random.default_rng(seed)
    if errors.startswith("cut"):
        # Other planes than those of the benchmark.
        whole = replace(replace(whole, name=f"{whole.name} of training").without_part(organ), name=whole.name)
    elif errors == "balls":
        whole = with_balls(whole, organ, generator)
    scene = whole.around(organ, MARGIN_MM)
    mm3 = np.bincount(whole.reference.ravel(), minlength=256) * float(np.prod(whole.spacing))
    mm3[0] = mm3[organ]  # background counts as what it is taken from
    session = RecordingSession(scene, np.maximum(mm3, LEAST_MM3), generator)
    user = User(scene, organ, seed % 1000, SHORT_SHARE if errors.endswith("short") else 1.0)
    labels = scene.start
    for _ in range(STROKES):
        stroke = user.next_stroke(labels)
        if stroke is None:
            break
        labels = session.add(Volume(stroke.on_map(labels.shape), scene.ct.grid)).labels.array
    if not session.samples:
        return None
    return Samples(*(np.concatenate([getattr(part, name) for part in session.samples])
                     for name in ("table", "truth", "weight")))


def with_balls(scene: Scene, organ: int, generator: np.random.Generator) -> Scene:
    """Start labels in which an organ has too much or too little in three places at its border."""
    start = scene.start.copy()
    mask = start == organ
    border = np.argwhere(mask & ~ndimage.binary_erosion(mask))
    for _ in range(3):
        middle, radius = border[generator.integers(len(border))], generator.uniform(6, 22)
        low = [max(0, int(at - radius / mm)) for at, mm in zip(middle, scene.spacing, strict=True)]
        box = tuple(slice(first, int(at + radius / mm) + 1)
                    for first, at, mm in zip(low, middle, scene.spacing, strict=True))
        away = [((index + first - at) * mm * generator.uniform(0.7, 1.6)) ** 2 for index, first, at, mm in zip(
            np.indices(start[box].shape), low, middle, scene.spacing, strict=True)]
        inside = sum(away) < radius ** 2
        if generator.random() < 0.6:
            start[box][inside & (scene.ct.array[box] > -200)] = organ
        else:
            start[box][inside & (start[box] == organ)] = generator.choice([0, 0, INTESTINE])
    return replace(scene, start=start)


def collect(arguments: argparse.Namespace) -> None:
    """Writes OUT/START-CT-ERRORS-ORGAN.npz of what is not there yet."""
    arguments.output.mkdir(parents=True, exist_ok=True)
    cases = cases_of(arguments.manifest)
    for name in arguments.cases or list(cases):
        if not (arguments.starts / f"{name}.nii.gz").is_file():
            raise SystemExit(f"{arguments.starts}: expected {name}.nii.gz, as refine.py keeps it")
        scene = load_scene(cases[name], None, arguments.starts)  # type: ignore[arg-type]
        for errors in arguments.errors:
            for organ in scene.organs:
                about = f"{arguments.starts.name}-{name}-{errors}-{organ}"
                file = arguments.output / f"{about}.npz"
                enough = int((scene.start == organ).sum()) >= LEAST_VOXELS
                if file.exists() or (errors in ("cut", "cut_short", "balls") and not enough):
                    continue
                samples = samples_of(scene, organ, errors, zlib.crc32(about.encode()))
                if samples is not None:
                    np.savez(file, table=samples.table, truth=samples.truth,
                             weight=samples.weight * np.float32(ERRORS[errors] * arguments.weight))
                    print(f"{about}: {len(samples.truth)}", flush=True)


def fit(files: Sequence[Path], epochs: int = EPOCHS) -> dict[str, np.ndarray]:
    """The network's tensors, as `judgement` reads them."""
    parts = [np.load(file) for file in files]
    table, truth, weight = (np.concatenate([part[name] for part in parts]) for name in ("table", "truth", "weight"))
    weight = np.minimum(weight / weight.mean(), MOST_WEIGHT)
    few = table[::7].astype(np.float32)
    lowest, highest = np.quantile(few, (0.001, 0.999), axis=0).astype(np.float32)
    mean, deviation = few.mean(axis=0), few.std(axis=0) + 1e-3
    for first in range(0, len(table), 1 << 16):  # whole, in float32, it would need gigabytes
        rows = slice(first, first + (1 << 16))
        table[rows] = (table[rows].astype(np.float32).clip(lowest, highest) - mean) / deviation
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(len(NAMES), HIDDEN), torch.nn.ReLU(),
                                  torch.nn.Linear(HIDDEN, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, 1))
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-3)
    batches = max(1, len(truth) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=epochs * batches + 1)
    inputs, targets, weights = (torch.from_numpy(array) for array in (table, truth, weight))
    for epoch in range(epochs):
        order = torch.from_numpy(np.random.default_rng(epoch).permutation(len(truth)))
        total = 0.0
        for chosen in order.tensor_split(batches):
            odds = network(inputs[chosen].float())[:, 0]
            losses = torch.nn.functional.binary_cross_entropy_with_logits(odds, targets[chosen].float(),
                                                                          reduction="none")
            loss = (losses * weights[chosen]).sum() / weights[chosen].sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        print(f"epoch {epoch + 1}: {total / batches:.5f}", flush=True)
    tensors = {"lowest": lowest, "highest": highest, "mean": mean, "deviation": deviation}
    for number, layer in enumerate(network[::2]):
        tensors[f"weight{number}"] = layer.weight.detach().numpy()
        tensors[f"bias{number}"] = layer.bias.detach().numpy()
    return tensors


def write_network(tensors: dict[str, np.ndarray], file: Path) -> None:
    """With the names of the evidence that it is for."""
    save_file({name: np.ascontiguousarray(tensor, np.float32) for name, tensor in tensors.items()}, file,
              metadata={"evidence": " ".join(NAMES)})


def main() -> None:
    """Collects or fits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    collecting, fitting = steps.add_parser("collect"), steps.add_parser("fit")
    for step in (collecting, fitting):
        step.add_argument("-o", "--output", type=Path, required=True, help="the folder of the samples")
    collecting.add_argument("--manifest", type=Path, default=MANIFEST)
    collecting.add_argument("--starts", type=Path, required=True)
    collecting.add_argument("--weight", type=float, default=1.0, help="of these samples; of a very weak model, less")
    collecting.add_argument("--errors", nargs="+", choices=list(ERRORS), default=list(ERRORS))
    collecting.add_argument("--cases", nargs="*", default=[], help="default: all of the manifest")
    fitting.add_argument("--to", type=Path, required=True, help="the file of the network")
    fitting.add_argument("--without", nargs="*", default=[], help="CTs to leave out")
    arguments = parser.parse_args()
    if arguments.step == "collect":
        collect(arguments)
        return
    files = [file for file in sorted(arguments.output.glob("*.npz"))
             if not any(f"-{name}-" in file.name for name in arguments.without)]
    if not files:
        raise SystemExit(f"{arguments.output}: expected samples (*.npz), found none to learn from")
    write_network(fit(files), arguments.to)


if __name__ == "__main__":
    main()
