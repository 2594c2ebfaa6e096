"""A row's run: trained by the library's trainer, segmented by its predictor, Dice per organ of every test case."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from PartialOrganSegLib.atomic import whole_file
from PartialOrganSegLib.evaluation.metrics import dice
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.segmenting.predictor import Predictor
from PartialOrganSegLib.training.recipe import Recipe
from PartialOrganSegLib.training.trainer import train

from .references import Reference

RESULT = "result.json"


@dataclass(frozen=True)
class Result:
    """`dice[case][organ]`: None where neither the reference nor the prediction has the organ."""

    dice: dict[str, dict[str, float | None]]
    seconds: float

    def organs(self) -> dict[str, float]:
        """Mean Dice over the test cases, per organ."""
        names = list(next(iter(self.dice.values())))
        values = {name: [case[name] for case in self.dice.values() if case[name] is not None] for name in names}
        return {name: float(np.mean(found)) for name, found in values.items() if found}

    def mean(self) -> float:
        """Mean over the organs of their means over the cases."""
        return float(np.mean(list(self.organs().values())))

    def case_means(self) -> dict[str, float]:
        """Mean over the organs, per test case."""
        return {name: float(np.mean([value for value in organs.values() if value is not None]))
                for name, organs in self.dice.items()}


def run(recipe: Recipe, organs: Sequence[str], all_organs: Sequence[str], test: Sequence[Reference], folder: Path,
        device: str, reporter: Reporter) -> Result:
    """The result of a recipe, trained unless it is there already; a stopped run goes on.

    Runs lie in `folder` under a name that depends on every setting, the manifest's content and the test cases.
    """
    kept = recipe.model_dump(mode="json", exclude={"manifest", "checkpoint_every", "workers"})
    essence = [kept, recipe.manifest.name, list(organs), [case.labels.name for case in test]]
    place = folder.with_name(f"{folder.name}-{hashlib.sha256(json.dumps(essence).encode()).hexdigest()[:8]}")
    file = place / RESULT
    if file.exists():
        return Result(**json.loads(file.read_text(encoding="utf-8")))
    start = time.monotonic()
    train(recipe, place, (place / "checkpoints" / "last.pt").exists(), device, reporter)
    result = Result(_judge(place / "model", organs, all_organs, test, device), round(time.monotonic() - start, 1))
    with whole_file(file) as temporary:
        temporary.write_text(json.dumps(asdict(result), indent=1), encoding="utf-8")
    return result


def _judge(model: Path, organs: Sequence[str], all_organs: Sequence[str], test: Sequence[Reference],
           device: str) -> dict[str, dict[str, float | None]]:
    """Dice of `organs` at each case's own resolution. Labels are numbered as in `all_organs`, predictions by the
    model's label space."""
    predictor = Predictor(load_bundle(model), device)
    figures = {}
    for case in test:
        predicted = predictor.predict(read_ct(case.image, force=True)).labels.array
        reference = read_labelmap(case.labels).array
        figures[case.name] = {}
        for name in organs:
            value = dice(predicted == predictor.bundle.label_space.index(name), reference == all_organs.index(name) + 1)
            figures[case.name][name] = None if value is None else round(value, 4)
    return figures
