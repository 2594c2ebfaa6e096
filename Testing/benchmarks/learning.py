"""What fine-tuning on three CTs brings a fourth patient, by the way it is taught.

    python Testing/benchmarks/learning.py -o output/learning --scenarios new weak --arms phantoms predictions

Scenarios: `new` an organ that the start model does not have (the aorta); `weak` accepted masks of organs that it is
weak in; `good` masks of organs that it has already; `strokes` simulated strokes of three organs in one CT, which is
the one that is tested on. Arms, which differ in nothing else: what a quarter of the patches is replayed from
(`phantoms`; the start model's `predictions` on CTs without drawings; `both`, as `learn` does; `nothing`) at a learning
rate of .001, and with both `low_rate` (a fifth of that), `class_rate` (a fifth, and .004 for the layers that give the
classes), `low_fitted` (a new class gets its first weights by a regression on the features) and `frozen_encoder` (only
the decoder learns). `beside`, as `learn --beside` does: the
start model stays whole, and a copy that has the say of what is taught alone learns at .001, from the drawings alone;
what is measured are both together. `beside_overlap`: known organs with the weight of the overlap that new ones have.

The network that learns on in the embedded model is taught alone, on patches of `PATCH`, a third of its own, so that an
arm takes minutes. Every arm goes to its last step with the trained weights alone; afterwards these are mixed with the
start model's at each of `ALPHAS`, so that one run says what each share of the start model brings, none (1) among them.

With `--model` another model is taught, on the CTs of `--trained`.

Data: ../shared/data/manifest.yaml, never its test case. The start model has not seen the CT that is tested on, nor the
first two that are learnt from. Labels are another model's, but the liver of waw2144_eq, which radiologists drew; the
aorta's are those of a class that the embedded model's first network tells apart and does not show. The start model grew
out of that network, so its features know of an aorta. Dice is measured at the network's spacing.

A finished arm is not run again (OUT/results/*.json), and one that was ended goes on from its checkpoint. All are in
OUT/learning.json, whose place is Resources/figures: `scripts/write_docs.py` makes the page's tables of it.
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

import torch
import yaml
from learning_labels import AORTA, label_aortas, label_of

from PartialOrganSegLib.annotation import CandidateTable, Kind
from PartialOrganSegLib.datasets.case import Case
from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.events import ConsoleReporter
from PartialOrganSegLib.finetuning.options import FinetuneOptions
from PartialOrganSegLib.finetuning.preparation import prepare
from PartialOrganSegLib.finetuning.preparation_state import Request
from PartialOrganSegLib.formats.writing import write_labelmap
from PartialOrganSegLib.loading.cache import CachedCase, cache_cases
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.networks import build_network, channels_last
from PartialOrganSegLib.networks.precision import computing_in
from PartialOrganSegLib.organs import label_space_of_names
from PartialOrganSegLib.resources import resource
from PartialOrganSegLib.synthesis.simulated_scribbles import simulate_scribble
from PartialOrganSegLib.training.distributed import Processes
from PartialOrganSegLib.training.evaluator import Evaluator
from PartialOrganSegLib.training.frozen_members import Division, FrozenMembers
from PartialOrganSegLib.training.recipe import load_recipe
from PartialOrganSegLib.training.trainer import Trainer
from PartialOrganSegLib.training.training_step import precision_of
from PartialOrganSegLib.training.transfer import ClassMap, class_axes, moved_arguments, moved_weights
from PartialOrganSegLib.training.weight_ensemble import WeightEnsemble
from PartialOrganSegLib.training.working_prediction import predicted_classes

MANIFEST = Path(__file__).resolve().parents[3] / "shared" / "data" / "manifest.yaml"
STROKES = "strokes"
SCENARIOS = {"new": [AORTA], "weak": ["pancreas", "duodenum", "adrenal"], "good": ["liver", "spleen", "left_kidney"],
             STROKES: ["stomach", "pancreas", "duodenum"]}
# Tested in turn, each beside the other two: unseen by the start model.
UNSEEN = ("crlm_1006", "hcc_011", "tcga_bc_a10w")
COMPANION = "waw2144_eq"  # the third that is learnt from
UNDRAWN = ("pancreas_cb_001", "crlm_1004", "crlm_1006")  # the first two that are neither learnt from nor tested on
ALPHAS = (1.0, 0.75, 0.5, 0.25)
PATCH = (32, 80, 96)
PATCH_OF_OTHERS = (32, 96, 96)  # whatever a model's network divides by up to 32
REPLAYED = 0.25  # of the patches, whatever is replayed
EMBEDDED = "embedded"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Arm:
    """`replayed`: what a quarter of the patches is from. `overrides`: of the recipe; `of_known`: and of organs that the
    start model has. `beside`: it stays, and a copy learns."""

    replayed: Sequence[str]
    overrides: tuple[str, ...] = ()
    beside: bool = False
    of_known: tuple[str, ...] = ()


BOTH = ("phantoms", "predictions")
BESIDE = ("beside=true", "losses.distillation=0", "sampling.background=false", "optimiser.learning_rate=0.001",
          "new_class_patches=16")
# Of organs that the start model knows. An overlap that is not within reach is largest where too much is called the
# organ: with the usual weight three masks of pancreas took its recall from .82 to .93 and its precision from .83 to .66
# in a CT that was learnt from.
OF_KNOWN = ("losses.marginal_dice=0.1",)
# And patches from anywhere, so that an organ is as rare in them as in a CT.
CALM = (*OF_KNOWN, "sampling.anywhere=0.6")
USUAL_RATE = ("optimiser.learning_rate=0.001",)
ARMS = {"phantoms": Arm(["phantoms"], USUAL_RATE), "predictions": Arm(["predictions"], USUAL_RATE),
        "both": Arm(BOTH, USUAL_RATE), "nothing": Arm([], USUAL_RATE),
        "low_rate": Arm(BOTH, ("optimiser.learning_rate=0.0002",)),
        "class_rate": Arm(BOTH, ("optimiser.learning_rate=0.0002", "optimiser.class_rate=20")),
        "low_fitted": Arm(BOTH, ("optimiser.learning_rate=0.0002", "new_class_patches=16")),
        "calm": Arm(BOTH, ("optimiser.learning_rate=0.0002", *CALM)),
        "calm_usual_rate": Arm(BOTH, (*USUAL_RATE, *CALM)),
        "calm_beside": Arm([], (*BESIDE, *CALM), True),
        "frozen_encoder": Arm(BOTH, (*USUAL_RATE, "train_parameters=decoder")),
        "beside": Arm([], BESIDE, True, OF_KNOWN), "beside_overlap": Arm([], BESIDE, True)}


@dataclass
class Trial:
    """A scenario with the CT that is tested on, in a folder of its own: what its arms have in common."""

    scenario: str
    tested: str
    out: Path
    steps: int
    model: str = EMBEDDED
    trained: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.start = load_bundle(self.model).learner
        self.organs = SCENARIOS[self.scenario]
        names = [*self.start.label_space.names]
        names += [organ for organ in self.organs if organ not in names]
        self.space = label_space_of_names("learning", names)
        self.name, self.patch = f"{self.scenario}-{self.tested}", PATCH
        if self.model != EMBEDDED:
            self.patch = PATCH_OF_OTHERS
            self.name += f"-{self.start.name}"
        self.folder = self.out / self.name
        self.cases = {case.name: case for case in load_manifest(MANIFEST).cases}
        if self.scenario == STROKES:
            self.trained = [self.tested]
        elif not self.trained:
            self.trained = [*(name for name in UNSEEN if name != self.tested), COMPANION]
        if AORTA in self.organs:
            label_aortas([self.cases[name] for name in (self.tested, *self.trained)], self.out / AORTA)

    def prepare(self) -> None:
        """The run that all arms are variants of, made once: RUN/recipe.yaml and RUN/manifest.yaml."""
        run = self.folder / "run"
        if (run / "plan.json").exists():
            return
        options = FinetuneOptions(minutes=1, steps=self.steps, validate=["none"], overrides=[
            "alpha=1", f"preprocessing.patch_zyx={list(self.patch)}"])
        prepare(Request(self.start, self._users_manifest(), run, resource("recipes", "finetune.yaml"), CPU, options),
                ConsoleReporter())

    def _users_manifest(self) -> Path:
        """What a user would have: drawings in some CTs, none in others."""
        folder = self.folder / "labels"
        folder.mkdir(parents=True, exist_ok=True)
        entries: list[dict[str, object]] = []
        for name in self.trained:
            case = self.cases[name]
            labels, annotated = label_of(case, self.organs, self.space, self.out / AORTA)
            kind = Kind.PARTIAL
            if self.scenario == STROKES:
                labels, kind = simulate_scribble(labels, self.space, organs=annotated, seed=1).labels, Kind.SCRIBBLE
            write_labelmap(folder / f"{name}.nii.gz", labels)
            entry: dict[str, object] = {"image": str(case.image), "label": str(folder / f"{name}.nii.gz"), "name": name,
                                        "kind": kind.value, "annotated": annotated}
            if kind is Kind.SCRIBBLE:
                # A stroke beside these organs says nothing of the others.
                others = [organ for organ in self.space.names if organ not in annotated]
                entry["label_map"] = {0: ["background", *others]}
            entries.append(entry)
        free = [name for name in UNDRAWN if name not in (self.tested, *self.trained)]
        undrawn = [{"image": str(self.cases[name].image), "name": name, "kind": "unlabelled"} for name in free[:2]]
        manifest = folder / "manifest.yaml"
        manifest.write_text(yaml.safe_dump({"label_space": list(self.space.names), "datasets": [
            {"name": "drawn", "cases": entries}, {"name": "undrawn", "cases": undrawn}]}))
        return manifest

    def train(self, arm: str, seed: int) -> Mapping[str, torch.Tensor]:
        """The weights after the last step, new classes shifted. What is not replayed has a weight of 0."""
        run = self.folder / "run"
        content = yaml.safe_load((run / "manifest.yaml").read_text())
        shares = {"cases of drawn": 1 - REPLAYED if ARMS[arm].replayed else 1.0}
        sources = {"phantoms": ["replay", "replay, anywhere"], "predictions": ["cases of undrawn"]}
        for source in ARMS[arm].replayed:
            for name in sources[source]:
                shares[name] = REPLAYED / len(ARMS[arm].replayed) / len(sources[source])
        for dataset in content["datasets"]:
            dataset["weight"] = shares.get(dataset["name"], 0.0)
        # Beside the run's own, so that all arms read one cache.
        manifest = run / f"{arm}.yaml"
        manifest.write_text(yaml.safe_dump(content, sort_keys=False))
        overrides = ARMS[arm].overrides
        if AORTA not in self.organs:
            overrides += ARMS[arm].of_known
        recipe = load_recipe(run / "recipe.yaml", [
            f"manifest={manifest}", f"start_from={self.start.folder}", f"seed={seed}", f"steps={self.steps}",
            "checkpoint_every=10", f"optimiser.warmup_steps={self.steps // 10}", *overrides])
        folder = self.folder / f"{arm}-{seed}-{self.steps}"
        trainer = Trainer(recipe, folder, resume=(folder / "checkpoints" / "last.pt").exists(),
                          reporter=ConsoleReporter())
        trainer.train()
        return trainer.result_weights()

    def classes(self) -> ClassMap:
        """From the start model's to the run's."""
        return ClassMap.between(self.start.label_space, self.space)

    def start_weights(self) -> dict[str, torch.Tensor]:
        """Those that every arm begins with."""
        return moved_weights(self.start.load_network().state_dict(), self.start.network_name,
                             self.start.network_arguments, self.start.label_space.class_count, self.classes())


class Test:
    """The CT that is tested on, and for strokes what was drawn on it, at the network's spacing."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        start, space = trial.start, trial.space
        self._arguments = moved_arguments(start.network_arguments, trial.classes())
        # Instance norm answers by all that a window holds: other windows than those of training measure that too.
        self._preprocessing = replace(start.preprocessing, patch_zyx=trial.patch)
        self._network = channels_last(build_network(start.network_name, 1, space.class_count, **self._arguments)).eval()
        case = trial.cases[trial.tested]
        file = trial.folder / "tested.nii.gz"
        known = space.names if AORTA in trial.organs else [name for name in space.names if name != AORTA]
        labels, annotated = label_of(case, known, space, trial.out / AORTA)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_labelmap(file, labels)
        reference = replace(case, label=file, annotated=tuple(annotated), ignored=(), label_map=())
        table = CandidateTable(space.class_count)
        cached = self._cached(reference, table)
        # The start model as a user gets it, in its own windows, for what is learnt beside it.
        self.frozen = FrozenMembers(start, space, CPU, trial.folder / "cache", beside=True)
        self._evaluator = Evaluator([cached], table.table, space, self._preprocessing, CPU, Processes(), self.frozen,
                                    precision=lambda: computing_in(CPU, precision_of(True, CPU)))
        self._drawn: CachedCase | None = None
        if trial.scenario == STROKES:
            others = tuple(organ for organ in space.names if organ not in trial.organs)
            drawn = trial.folder / "labels" / f"{trial.tested}.nii.gz"
            strokes = replace(case, name="strokes", label=drawn, kind=Kind.SCRIBBLE, ignored=(),
                              label_map=((0, ("background", *others)),))
            self._drawn = self._cached(strokes, CandidateTable(space.class_count))

    def _cached(self, case: Case, table: CandidateTable) -> CachedCase:
        spacing = self._trial.start.preprocessing.spacing_zyx
        folder = self._trial.folder / "cache"
        return cache_cases([case], self._trial.space, table, spacing, folder, ConsoleReporter())[0]

    def dice(self, weights: Mapping[str, torch.Tensor], division: Division | None = None) -> dict[str, float]:
        """Of each organ of which the case has a mask; and of strokes the share of voxels that are "obeyed". With a
        `division` what the start model and the weights say together."""
        figures = self._evaluator.measure(self._network, weights, ConsoleReporter(), division).dice
        figures.pop("mean")
        if self._drawn is not None:
            self._network.load_state_dict(weights)
            predicted = predicted_classes(self._network, self._drawn.image(), self._preprocessing,
                                          self._trial.space.class_count, CPU)
            codes, allowed = self._drawn.codes(), self._drawn.table.table
            drawn = ~allowed[codes].all(-1)
            figures["obeyed"] = float(allowed[codes[drawn], predicted[drawn]].mean())
        return {name: round(value, 4) for name, value in figures.items()}


def run_arm(trial: Trial, test: Test, arm: str, seed: int) -> dict[str, Any]:
    """One arm's figures for each alpha."""
    clock = time.monotonic()
    trial.prepare()
    begun, start = trial.start_weights(), trial.start
    trained = trial.train(arm, seed)
    seconds = time.monotonic() - clock
    divisions: tuple[Division | None, Division | None] = None, None
    if ARMS[arm].beside:
        divisions = test.frozen.before, test.frozen.after(trial.organs)
    axes = class_axes(start.network_name, moved_arguments(start.network_arguments, trial.classes()),
                      trial.space.class_count)
    after = {}
    # Of an organ that it does not know the start model has no share.
    for alpha in ALPHAS[:1] if ARMS[arm].beside and AORTA in trial.organs else ALPHAS:
        ensemble = WeightEnsemble.from_start(begun, alpha, axes, trial.classes().new)
        after[str(alpha)] = test.dice(ensemble.weights(trained), divisions[1])
    return {"scenario": trial.scenario, "model": start.name, "arm": arm, "tested": trial.tested,
            "trained": list(trial.trained), "seed": seed, "steps": trial.steps, "seconds": round(seconds),
            "organs": trial.organs, "before": test.dice(begun, divisions[0]), "after": after}


def main() -> None:
    """Runs what is asked for and not done yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--tested", nargs="+", default=UNSEEN[:1], metavar="CASE")
    parser.add_argument("--trained", nargs="+", default=[], metavar="CASE",
                        help="of these all but the one tested on (default: the module's)")
    parser.add_argument("--model", default=EMBEDDED, help="that is taught (default: embedded)")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    out = arguments.output.resolve()
    (out / "results").mkdir(parents=True, exist_ok=True)
    for tested, arm, scenario in itertools.product(arguments.tested, arguments.arms, arguments.scenarios):
        trained = [name for name in arguments.trained if name != tested]
        trial = Trial(scenario, tested, out, arguments.steps, arguments.model, trained)
        path = out / "results" / f"{trial.name}-{arm}-{arguments.seed}-{arguments.steps}.json"
        if path.exists():
            continue
        trial.prepare()
        path.write_text(json.dumps(run_arm(trial, Test(trial), arm, arguments.seed)) + "\n")
    lines = [path.read_text().strip() for path in sorted((out / "results").glob("*.json"))]
    (out / "learning.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
