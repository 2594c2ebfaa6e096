"""Fine-tuning against the two ways a user would otherwise have, with the same cases, steps and start model.

    python Testing/benchmarks/finetune.py -o output/finetune --scenarios correct scribble add --data phantoms real

Scenarios: `correct` two organs accepted in three cases; `scribble` four organs drawn in three cases with strokes on
less than 4 % of their voxels; `add` an organ that the start model does not have, accepted in three cases. Arms: `ours`
(`partialorganseg finetune`), `background` (cross entropy and Dice, what is not labelled taken as background) and `pce`
(cross entropy over the labelled voxels alone: on strokes partial, on accepted organs marginal); and for strokes `masks`
(ours on the whole masks of the organs drawn in), which says how much these cases have to teach. Figures are Dice on
cases nobody trained on, as `segment` gives it, and the weights those of the last step; `--seeds` repeats every run with
other random numbers.

Phantoms are made; real CTs are those of ../shared/data, of which the start model must not have seen `--unseen`. One of
these is left out in turn, the others (and those of `--companions`, which it may have seen) are fine-tuned on. On
phantoms nothing is replayed, as replay is made of phantoms. For `add` the start model's class is cut off, so it is not
as new as it would be to the features. Real labels are other models'; where these leave organs open a simulated
background stroke says "none of those labelled".
Results go to OUT/results.json and OUT/results.md after every run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from PartialOrganSegLib.annotation import CandidateTable, Kind
from PartialOrganSegLib.datasets.case import Case
from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.evaluation.metrics import candidate_dice, joint_counts
from PartialOrganSegLib.events import ConsoleReporter
from PartialOrganSegLib.finetuning.options import FinetuneOptions
from PartialOrganSegLib.finetuning.run import finetune
from PartialOrganSegLib.formats.reading import read_labelmap
from PartialOrganSegLib.formats.writing import write_ct, write_labelmap
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.models.bundle import Bundle, load_bundle
from PartialOrganSegLib.models.bundle_writing import write_bundle
from PartialOrganSegLib.organs import WORD16, LabelSpace, label_space_of_names
from PartialOrganSegLib.segmenting.predictor import Predictor
from PartialOrganSegLib.synthesis.phantom import make_phantom
from PartialOrganSegLib.synthesis.simulated_scribbles import simulate_scribble
from PartialOrganSegLib.training.transfer import ClassMap, moved_weights

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "manifest.yaml"
# Organs that the embedded model is weakest in: there is something to correct.
TARGETS = {"correct": ["pancreas", "duodenum"], "scribble": ["stomach", "pancreas", "duodenum", "esophagus"],
           "add": ["spleen"]}
UNSEEN = ["acrin_flt_001_b", "tcga_bc_a10w", "cptac_c3l_00189", "cort_liver"]  # of one fold of the embedded model's
BASELINES = {
    "background": ["losses={marginal_cross_entropy: 1.0, marginal_dice: 1.0, distillation: 0.0}", "alpha=1"],
    "pce": ["losses={marginal_cross_entropy: 1.0, marginal_dice: 0.0, distillation: 0.0}", "alpha=1",
            "loss_arguments.marginal_cross_entropy.draw_rates=[]"]}
ARMS = ("ours", *BASELINES, "masks")
# 47 x 27 x 42 cm: a whole trunk.
PHANTOM_SHAPE, PHANTOM_SPACING = (157, 106, 168), (3.0, 2.5, 2.5)
TRAINED, TESTED = 3, 2  # phantoms
BACKGROUND_STROKE = 254  # in a scribble file; "none of the organs that the case's label can be compared with"
FIRST_SEED = 1000  # away from those that replay uses


@dataclass(frozen=True)
class Split:
    """Fully described cases to fine-tune on and to test on."""

    name: str
    training: list[Case]
    testing: list[Case]
    replay: str


def phantom_split(folder: Path) -> Split:
    """Phantoms with the labels of all organs."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = []
    for seed in range(FIRST_SEED, FIRST_SEED + TRAINED + TESTED):
        image, label = folder / f"{seed}.nii.gz", folder / f"{seed}_label.nii.gz"
        # Made once: a phantom depends on its seed alone.
        if not label.exists():
            ct, labels = make_phantom(PHANTOM_SHAPE, PHANTOM_SPACING, seed)
            write_ct(image, ct)
            write_labelmap(label, labels)
        cases.append(Case(f"phantom_{seed}", str(seed), "phantoms", image, Kind.FULL, label))
    return Split("phantoms", cases[:TRAINED], cases[TRAINED:], "none")


def real_splits(unseen: Sequence[str], companions: Sequence[str]) -> list[Split]:
    """Each unseen CT tested in turn, fine-tuned on the other ones and the companions."""
    cases = {case.image.parent.name: case for case in load_manifest(REAL).cases}
    splits = []
    for tested in unseen:
        training = [cases[name] for name in (*unseen, *companions) if name != tested]
        splits.append(Split(f"real, {tested} left out", training, [cases[tested]], "phantoms"))
    return splits


def vouched(case: Case) -> list[str]:
    """The organs that a case's label can be compared with."""
    coarse = {name for _, names in case.label_map for name in names}
    return [name for name in (case.annotated or WORD16.names) if name not in coarse]


def write_cases(cases: Sequence[Case], scenario: str, arm: str, names: Sequence[str], folder: Path) -> Path:
    """A manifest with the scenario's annotation as the arm understands it; `names` is its label space."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    space = label_space_of_names("benchmark", names)
    strokes = scenario == "scribble" and arm != "masks"
    for case in cases:
        labels = read_labelmap(case.label)
        targets = [name for name in TARGETS[scenario] if name in vouched(case)]
        drawn = simulate_scribble(labels, WORD16, organs=targets, seed=1).labels.array if strokes else labels.array
        annotation = np.full(drawn.shape, 255 if strokes and arm != "background" else 0, np.uint8)
        for name in targets:
            annotation[drawn == WORD16.index(name)] = space.index(name)
        meaning = {}
        if strokes and arm != "background":
            annotation[drawn == 0] = BACKGROUND_STROKE
            open_organs = [name for name in names if name not in vouched(case)]
            meaning = {"label_map": {BACKGROUND_STROKE: ["background", *open_organs]}}
        path = folder / f"{case.name}.nii.gz"
        write_labelmap(path, Volume(annotation, labels.grid))
        kind = "scribble" if strokes else "partial"
        if arm == "background":
            kind = "full"
        entries.append({"image": str(case.image), "label": str(path), "name": case.name, "kind": kind,
                        "annotated": targets, **meaning})
    manifest = folder / "manifest.yaml"
    manifest.write_text(yaml.safe_dump({"label_space": list(names), "datasets": [{"name": "mine", "cases": entries}]}))
    return manifest


def without(start: Bundle, organs: Sequence[str], folder: Path) -> Bundle:
    """The start model with some of its classes cut off."""
    space = label_space_of_names("rest", [name for name in start.label_space.names if name not in organs])
    # The class goes; the features that learnt it stay, as the docstring above says.
    network = start.load_network()
    weights = moved_weights(network.state_dict(), start.network_name, start.network_arguments,
                            start.label_space.class_count, ClassMap.between(start.label_space, space))
    from PartialOrganSegLib.networks import build_network

    smaller = build_network(start.network_name, 1, space.class_count, **start.network_arguments)
    smaller.load_state_dict(weights)
    return write_bundle(folder, smaller, start.network_name, start.network_arguments, space, start.preprocessing,
                        f"{start.name}-smaller", "1", start.metadata.partialorganseg.licences.model_dump(), [], {},
                        "A part of the classes")


def dice_of(bundle: Bundle, cases: Sequence[Case]) -> dict[str, float]:
    """Mean Dice of each organ over the cases that vouch for it; 0 for an organ the model does not have."""
    predictor = Predictor(bundle, device="auto")
    values: dict[str, list[float]] = {}
    for case in cases:
        image, table = case.read_image(), CandidateTable(WORD16.class_count)
        codes = case.read_codes(image, WORD16, table)
        predicted = in_word16(predictor.predict(image).labels.array, bundle.label_space)
        counts = joint_counts(predicted, codes, table.table.shape)
        for name in vouched(case):
            value, _ = candidate_dice(counts, table.table, [WORD16.index(name)])
            if value is not None:
                values.setdefault(name, []).append(value)
    return {name: float(np.mean(organ_values)) for name, organ_values in values.items()}


def in_word16(labels: np.ndarray, space: LabelSpace) -> np.ndarray:
    """A model's labels as WORD's numbers."""
    return np.array([0, *(WORD16.index(name) for name in space.names)], np.uint8)[labels]


def options_of(arm: str, replay: str, steps: int, seed: int) -> FinetuneOptions:
    """Ours as the command does it, baselines without teacher, replay and a share of the start model. All of them go to
    the last step on all that is given."""
    baseline = BASELINES.get(arm)
    return FinetuneOptions(steps=steps, replay="none" if baseline else replay, validate=["none"],
                  overrides=[f"seed={seed}", *(baseline or [])])


def run_arm(scenario: str, arm: str, seed: int, split: Split, start: Bundle, before: dict[str, float], steps: int,
            folder: Path, device: str) -> dict[str, Any]:
    """One run's figures."""
    names = [*start.label_space.names, *(name for name in TARGETS[scenario] if name not in start.label_space.names)]
    # Baselines see the same cases with another meaning of what is not labelled.
    manifest = write_cases(split.training, scenario, arm, names, folder / "labels")
    clock = time.monotonic()
    result = finetune(start.folder, manifest, folder / "run", device, options_of(arm, split.replay, steps, seed),
                      None, ConsoleReporter())
    seconds = time.monotonic() - clock
    after = dice_of(result.bundle, split.testing)
    return {"scenario": scenario, "data": split.name, "arm": arm, "seed": seed, "steps": steps,
            "seconds": round(seconds), "targets": TARGETS[scenario], "before": before, "after": after}


def changes(result: dict[str, Any]) -> dict[str, float | None]:
    """Mean Dice before and after of targets and of kept organs, and the largest loss of a kept one."""
    figures: dict[str, float | None] = {}
    for group, is_target in (("target", True), ("kept", False)):
        names = [name for name in result["before"]
                 if name in result["after"] and (name in result["targets"]) is is_target]
        for when in ("before", "after"):
            figures[f"{group} {when}"] = float(np.mean([result[when][name] for name in names])) if names else None
        if not is_target and names:
            figures["largest loss"] = max(result["before"][name] - result["after"][name] for name in names)
    return figures


def write_results(results: Sequence[dict[str, Any]], folder: Path) -> None:
    """results.json and results.md."""
    (folder / "results.json").write_text(json.dumps(list(results), indent=1) + "\n")
    lines = ["| scenario | data | arm | seed | steps | s | targets before | after | kept before | after | worst loss |",
             "|---|---|---|---|---|---|---|---|---|---|---|"]
    for result in results:
        figures = changes(result)
        shown = [figures.get(key) for key in ("target before", "target after", "kept before", "kept after",
                                              "largest loss")]
        cells = [str(result[key]) for key in ("scenario", "data", "arm", "seed", "steps", "seconds")]
        cells += ["-" if value is None else f"{value:.3f}" for value in shown]
        lines.append(f"| {' | '.join(cells)} |")
    (folder / "results.md").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Runs what is asked for, printing the table at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--scenarios", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--data", nargs="+", choices=("phantoms", "real"), default=("phantoms", "real"))
    parser.add_argument("--unseen", nargs="+", default=UNSEEN)
    parser.add_argument("--companions", nargs="*", default=[], help="CTs that are only fine-tuned on")
    parser.add_argument("--splits", type=int, default=4, help="how many of the unseen CTs are left out in turn")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    out = arguments.output.resolve()  # the manifests lie in folders of their own
    splits = [phantom_split(out / "phantoms")] if "phantoms" in arguments.data else []
    if "real" in arguments.data:
        if not REAL.exists():
            print(f"no real CTs here ({REAL}); phantoms only", file=sys.stderr)
        else:
            splits += real_splits(arguments.unseen, arguments.companions)[:arguments.splits]
    results: list[dict[str, Any]] = []
    for scenario in arguments.scenarios:
        start = load_bundle(arguments.model)
        if scenario == "add":
            start = without(start, TARGETS[scenario], out / "smaller")
        for split in splits:
            before = dice_of(start, split.testing)
            arms = [arm for arm in arguments.arms if arm != "masks" or scenario == "scribble"]
            for arm, seed in itertools.product(arms, arguments.seeds):
                folder = out / f"{scenario}-{split.name.replace(' ', '-').replace(',', '')}-{arm}-{seed}"
                results.append(run_arm(scenario, arm, seed, split, start, before, arguments.steps, folder,
                                       arguments.device))
                write_results(results, out)
    print((out / "results.md").read_text())


if __name__ == "__main__":
    main()
