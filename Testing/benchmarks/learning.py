"""What fine-tuning on three CTs brings a fourth patient, by the way it is taught.

    python Testing/benchmarks/learning.py -o output/learning --scenarios new weak good --arms default predictions

Scenarios: `new` an organ that the start model does not have (the aorta); `weak` accepted masks of the organs it is
weakest in (pancreas, duodenum, adrenal); `good` masks of organs that it has already (liver, spleen, left kidney). Arms,
which differ in nothing else: `default` (phantoms are replayed), `predictions` (instead of phantoms the start model's
predictions on CTs without drawings), `low_rate` (a fifth of the learning rate, a third of the steps warm-up),
`frozen_encoder` (only the decoder learns), `gentle` (`predictions` with `low_rate`).

Every run goes to its last step with the trained weights alone; afterwards these are mixed with the start model's at
each of `ALPHAS`, so that one run says what each share of the start model brings, none (1) among them. `chosen` is the
alpha that fine-tuning would take: by the start model's Dice of what the three CTs show.

Data: ../shared/data/manifest.yaml, never its test case. The start model (the embedded model's trained network) has not
seen the CT that is tested on, nor the first two that are learnt from. Labels are another model's, but the liver of
waw2144_eq, which radiologists drew; the aorta's are those of a class that the embedded model's first network tells
apart and does not show. The start model grew out of that network, so its features know of an aorta.

A finished arm is not run again (OUT/SCENARIO-ARM-CT.json), and one that was ended goes on from its checkpoint, its
seconds those since then. OUT/results.json holds all of them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from PartialOrganSegLib.datasets.case import Case
from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.evaluation.metrics import dice
from PartialOrganSegLib.events import ConsoleReporter
from PartialOrganSegLib.finetuning.decisions import alpha_for
from PartialOrganSegLib.finetuning.options import FinetuneOptions
from PartialOrganSegLib.finetuning.run import finetune, resume
from PartialOrganSegLib.formats.reading import read_labelmap
from PartialOrganSegLib.formats.writing import write_labelmap
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.models.bundle import Bundle, load_bundle, write_bundle
from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.organs import WORD16, LabelSpace, label_space_of_names
from PartialOrganSegLib.segmenting.predictor import Predictor
from PartialOrganSegLib.training.transfer import ClassMap, class_axes, moved_arguments, moved_weights
from PartialOrganSegLib.training.weight_ensemble import WeightEnsemble

MANIFEST = Path(__file__).resolve().parents[3] / "shared" / "data" / "manifest.yaml"
AORTA = "aorta"
SCENARIOS = {"new": [AORTA], "weak": ["pancreas", "duodenum", "adrenal"], "good": ["liver", "spleen", "left_kidney"]}
# Tested in turn, each beside the other two: unseen by the start model.
UNSEEN = ("crlm_1006", "hcc_011", "tcga_bc_a10w")
COMPANION = "waw2144_eq"  # the third that is learnt from
UNDRAWN = ("pancreas_cb_001", "crlm_1004")
ALPHAS = (1.0, 0.75, 0.5)
AORTA_SPACING = (3.0, 2.0, 2.0)  # mm (z, y, x): coarser than the network's own, and exact enough for a vessel so wide
REPLAYED = 0.25  # of the patches, whatever is replayed


@dataclass(frozen=True)
class Arm:
    """`predictions`: CTs without drawings are learnt from instead of phantoms. `overrides`: of the recipe."""

    predictions: bool = False
    overrides: tuple[str, ...] = ()


LOW_RATE = ("optimiser.learning_rate=0.0002", "optimiser.warmup_steps=40")
ARMS = {"default": Arm(), "predictions": Arm(predictions=True), "low_rate": Arm(overrides=LOW_RATE),
        "frozen_encoder": Arm(overrides=("train_parameters=decoder",)),
        "gentle": Arm(predictions=True, overrides=LOW_RATE)}


def aorta_model(folder: Path) -> Bundle:
    """The embedded model's first network with the aorta as an organ of its own: the first of the classes that it tells
    apart and counts as background."""
    source = load_bundle("embedded").members[0].bundle
    names = [*source.label_space.names, AORTA]
    arguments = dict(source.network_arguments)
    arguments["more"] = list(arguments["more"])[1:]
    network = build_network(source.network_name, 1, len(names) + 1, **arguments)
    known = source.load_network().state_dict()
    state = dict(known)
    for name, value in known.items():
        if "more_layers" in name:
            classes = name.replace("more_layers", "seg_layers")
            state[name], state[classes] = value[1:], torch.cat([known[classes], value[:1]])
    network.load_state_dict(state)
    return write_bundle(folder, network, source.network_name, arguments, label_space_of_names("with_aorta", names),
                        replace(source.preprocessing, spacing_zyx=AORTA_SPACING), "with-aorta", "1",
                        source.metadata.partialorganseg.licences.model_dump(), [], {}, "The aorta as an organ")


def aorta_labels(cases: Sequence[Case], folder: Path) -> dict[str, Path]:
    """Case to a mask of its aorta, made once."""
    missing = [case for case in cases if not (folder / f"{case.image.parent.name}.nii.gz").exists()]
    if missing:
        bundle = aorta_model(folder / "model")
        predictor = Predictor(bundle, device="auto")
        value = bundle.label_space.index(AORTA)
        for case in missing:
            labels = predictor.predict(case.read_image()).labels
            write_labelmap(folder / f"{case.image.parent.name}.nii.gz",
                           Volume((labels.array == value).astype(np.uint8), labels.grid))
    return {case.image.parent.name: folder / f"{case.image.parent.name}.nii.gz" for case in cases}


def masks_of(case: Case, organs: Sequence[str], aortas: Mapping[str, Path]) -> dict[str, np.ndarray]:
    """The masks of those `organs` that the case vouches for, on its CT's grid."""
    labels = read_labelmap(case.label).array
    masks = {}
    for organ in organs:
        if organ == AORTA and aortas:
            masks[organ] = read_labelmap(aortas[case.image.parent.name]).array > 0
        elif organ in case.annotated:
            masks[organ] = labels == WORD16.index(organ)
    return masks


def write_cases(cases: Sequence[Case], undrawn: Sequence[Case], organs: Sequence[str], space: LabelSpace,
                aortas: Mapping[str, Path], folder: Path) -> Path:
    """The user's manifest: the masks of `organs` alone; of `undrawn` CTs as many patches as replay has."""
    folder.mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, object]] = []
    for case in cases:
        masks = masks_of(case, organs, aortas)
        grid = read_labelmap(case.label).grid
        drawn = np.zeros(next(iter(masks.values())).shape, np.uint8)
        for organ, mask in masks.items():
            drawn[mask] = space.index(organ)
        path = folder / f"{case.image.parent.name}.nii.gz"
        write_labelmap(path, Volume(drawn, grid))
        entries.append({"image": str(case.image), "label": str(path), "name": case.image.parent.name, "kind": "partial",
                        "annotated": list(masks)})
    datasets: list[dict[str, object]] = [{"name": "drawn on", "weight": 1 - REPLAYED, "cases": entries}]
    if undrawn:
        images = [{"image": str(case.image), "name": case.image.parent.name, "kind": "unlabelled"} for case in undrawn]
        datasets.append({"name": "nothing drawn", "weight": REPLAYED, "cases": images})
    manifest = folder / "manifest.yaml"
    manifest.write_text(yaml.safe_dump({"label_space": list(space.names), "datasets": datasets}))
    return manifest


def mixed(start: Bundle, trained: Bundle, alpha: float, folder: Path) -> Bundle:
    """The trained model with `1 - alpha` of the start model's weights."""
    classes = ClassMap.between(start.label_space, trained.label_space)
    begun = moved_weights(start.load_network().state_dict(), start.network_name, start.network_arguments,
                          start.label_space.class_count, classes)
    axes = class_axes(trained.network_name, moved_arguments(start.network_arguments, classes),
                      trained.label_space.class_count)
    network = trained.load_network()
    network.load_state_dict(WeightEnsemble.from_start(begun, alpha, axes, classes.new).weights(network.state_dict()))
    return write_bundle(folder, network, trained.network_name, trained.network_arguments, trained.label_space,
                        trained.preprocessing, "mixed", "1", trained.metadata.partialorganseg.licences.model_dump(),
                        [], {}, "A mixture")


def dice_of(bundle: Bundle, case: Case, aortas: Mapping[str, Path]) -> dict[str, float]:
    """Dice of each organ that the case vouches for; 0 for one that the model does not have."""
    labels = Predictor(bundle, device="auto").predict(case.read_image()).labels.array
    figures = {}
    for organ, mask in masks_of(case, [*WORD16.names, AORTA], aortas).items():
        predicted = np.zeros(labels.shape, bool)
        if organ in bundle.label_space.names:
            predicted = labels == bundle.label_space.index(organ)
        value = dice(predicted, mask)
        if value is not None:
            figures[organ] = round(float(value), 4)
    return figures


def run_arm(scenario: str, arm: str, tested: str, steps: int, start: Bundle, out: Path) -> dict[str, Any]:
    """One run with its figures for each alpha."""
    cases = {case.image.parent.name: case for case in load_manifest(MANIFEST).cases}
    trained = [cases[name] for name in (*(name for name in UNSEEN if name != tested), COMPANION)]
    organs = SCENARIOS[scenario]
    aortas = aorta_labels([cases[tested], *trained], out / "aorta") if AORTA in organs else {}
    space = label_space_of_names("learning", [*start.label_space.names,
                                              *(name for name in organs if name not in start.label_space.names)])
    undrawn = [cases[name] for name in UNDRAWN] if ARMS[arm].predictions else []
    folder = out / f"{scenario}-{arm}-{tested}"
    replay = "none" if ARMS[arm].predictions else "phantoms"
    options = FinetuneOptions(steps=steps, replay=replay, validate=["none"],
                              overrides=["alpha=1", *ARMS[arm].overrides])
    clock = time.monotonic()
    if (folder / "run" / "checkpoints" / "last.pt").exists():
        result = resume(folder / "run", reporter=ConsoleReporter())
    else:
        manifest = write_cases(trained, undrawn, organs, space, aortas, folder / "labels")
        result = finetune(start.folder, manifest, folder / "run", "auto", options, None, ConsoleReporter())
    seconds = time.monotonic() - clock
    after = {}
    for alpha in ALPHAS:
        after[str(alpha)] = dice_of(mixed(start, result.bundle, alpha, folder / "mixed"), cases[tested], aortas)
    known = [value for case in trained for organ, value in start_figures(start, case, aortas, out).items()
             if organ in organs and organ in start.label_space.names]
    return {"scenario": scenario, "arm": arm, "tested": tested, "trained": [case.image.parent.name for case in trained],
            "steps": steps, "seconds": round(seconds), "organs": organs,
            "chosen": alpha_for(float(np.mean(known)) if known else None),
            "before": start_figures(start, cases[tested], aortas, out), "after": after}


def start_figures(start: Bundle, case: Case, aortas: Mapping[str, Path], out: Path) -> dict[str, float]:
    """The start model's Dice of a CT, measured once."""
    path = out / "start" / f"{case.image.parent.name}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dice_of(start, case, aortas)))
    figures: dict[str, float] = json.loads(path.read_text())
    return figures


def main() -> None:
    """Runs what is asked for and not done yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--tested", nargs="+", choices=UNSEEN, default=UNSEEN[:1])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="after them no other arm is begun")
    arguments = parser.parse_args()
    out = arguments.output.resolve()
    out.mkdir(parents=True, exist_ok=True)
    start = load_bundle("embedded").learner
    clock = time.monotonic()
    # Arm by arm, so that what is done so far compares.
    for tested, arm, scenario in itertools.product(arguments.tested, arguments.arms, arguments.scenarios):
        path = out / f"{scenario}-{arm}-{tested}.json"
        if not path.exists() and time.monotonic() - clock < arguments.seconds:
            path.write_text(json.dumps(run_arm(scenario, arm, tested, arguments.steps, start, out), indent=1))
    results = [json.loads(path.read_text()) for path in sorted(out.glob("*-*.json"))]
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
