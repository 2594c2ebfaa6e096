"""A paper's situation, derived from fully labelled cases: who is tested on, and what of the others is annotated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from PartialOrganSegLib.annotation import Kind
from PartialOrganSegLib.atomic import whole_file
from PartialOrganSegLib.errors import Code, UserError
from PartialOrganSegLib.formats.reading import read_labelmap
from PartialOrganSegLib.formats.writing import write_labelmap
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.organs import label_space_of_names
from PartialOrganSegLib.synthesis.simulated_scribbles import simulate_scribble

from .references import Reference
from .table import DataSet

TEST_SHARE = 0.25


@dataclass(frozen=True)
class Situation:
    """Training cases of each data set, and the test cases, which are the same for every seed."""

    organs: tuple[str, ...]
    training: Mapping[str, Sequence[Reference]]
    test: Sequence[Reference]


def situation(references: Sequence[Reference], organs: Sequence[str], datasets: Sequence[DataSet],
              seed: int) -> Situation:
    """The first quarter of the patients, in an order that depends on their names alone, is tested on; the others are
    dealt to the data sets by their shares, differently for each seed. A patient is in one set only.

    Partial sets of none of the organs are left out. Raises UserError when there are fewer patients than sets.
    """
    patients: dict[str, list[Reference]] = {}
    for case in references:
        patients.setdefault(case.group, []).append(case)
    # By a digest of the name: one patient more or less moves few others from one side to the other.
    ordered = sorted(patients, key=lambda name: hashlib.sha256(name.encode()).digest())
    tested = max(1, round(TEST_SHARE * len(ordered)))
    pool = [ordered[tested:][number] for number in np.random.default_rng(seed).permutation(len(ordered) - tested)]
    datasets = [dataset for dataset in datasets if dataset.kind is not Kind.PARTIAL or set(dataset.organs) & {*organs}]
    dealt = [dataset for dataset in datasets if dataset.same_cases_as is None]
    if len(pool) < len(dealt):
        raise UserError(code=Code.NO_CASES, subject="data",
                        expected=f"at least {len(dealt)} training cases with a label of {', '.join(organs)}",
                        found=f"{len(pool)} beside {tested} to test on")
    shares = np.array([dataset.share for dataset in dealt], float)
    spare = len(pool) - len(dealt)  # each set has one patient; the spare ones go by the shares
    ends = np.arange(1, len(dealt) + 1) + np.round(spare * np.cumsum(shares) / shares.sum()).astype(int)
    training = {}
    for dataset, start, end in zip(dealt, [0, *ends[:-1]], ends, strict=True):
        training[dataset.name] = _cases_of(pool[start:end], patients)
    for dataset in datasets:
        if dataset.same_cases_as is not None:
            training[dataset.name] = training[dataset.same_cases_as]
    return Situation(tuple(organs), training, _cases_of(ordered[:tested], patients))


def _cases_of(names: Sequence[str], patients: Mapping[str, Sequence[Reference]]) -> list[Reference]:
    cases: list[Reference] = []
    for name in names:
        cases += patients[name]
    return cases


def write_manifest(work: Path, place: Situation, datasets: Sequence[DataSet], organs: Sequence[str],
                   unlabelled_is_background: bool = False) -> Path:
    """The manifest of some data sets in a label space of `organs` (some of the situation's, in its order), and the
    labels that it names. The same content always has the same name, and all share one cache.

    With `unlabelled_is_background` a partial set vouches for all organs although it is labelled with a few, as when
    data sets are pooled without a thought.
    """
    entries: dict[str, dict[str, object]] = {}
    cases_of: dict[str, list[dict[str, str]]] = {}
    for dataset in datasets:
        name = dataset.pooled_as or dataset.name
        cases = cases_of.setdefault(name, [])
        for case in place.training[dataset.name]:
            cases.append({"name": case.name, "group": case.group, "image": str(case.image.resolve()),
                          "label": str(_label(case, dataset, place.organs, organs).resolve())})
        entries[name] = {"name": name, "kind": dataset.kind.value, "cases": cases}
        if dataset.kind is Kind.PARTIAL:
            annotated = [organ for organ in organs if organ in dataset.organs or unlabelled_is_background]
            entries[name]["annotated"] = annotated
    content = yaml.safe_dump({"label_space": list(organs), "datasets": list(entries.values())}, sort_keys=False,
                             allow_unicode=True)
    path = work / "manifests" / f"{hashlib.sha256(content.encode()).hexdigest()[:12]}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        temporary.write_text(content, encoding="utf-8")
    return path


def _label(case: Reference, dataset: DataSet, organs: Sequence[str], of_row: Sequence[str]) -> Path:
    """The file with what `dataset` annotates of a case: nothing else is in it, so nothing else can be learned.

    `organs`: those that the case's label is numbered by; `of_row`: the label space that the file is for.
    """
    annotated = [name for name in organs if name in (dataset.organs or organs)]
    # The same file for all rows where the organs and their numbers are the same.
    as_numbered = list(of_row) == list(organs[:len(of_row)]) and set(annotated) <= set(of_row)
    if dataset.kind is Kind.FULL and as_numbered:
        return case.labels
    essence: list[object] = [dataset.kind.value, dataset.organs]
    if not as_numbered:
        essence.append(list(of_row))
    digest = hashlib.sha256(json.dumps(essence).encode()).hexdigest()[:8]
    target = case.labels.with_name(f"{case.name}-{digest}.nii.gz")
    if not target.exists():
        number_of = np.zeros(len(organs) + 1, np.uint8)
        for name in annotated:
            if name in of_row:
                number_of[organs.index(name) + 1] = of_row.index(name) + 1
        dense = read_labelmap(case.labels)
        drawn = Volume(number_of[dense.array], dense.grid)
        if dataset.kind is Kind.SCRIBBLE:
            # By the case's name, so that it is drawn the same whichever set and seed it comes in.
            seed = int.from_bytes(hashlib.sha256(case.name.encode()).digest()[:4], "big")
            drawn = simulate_scribble(drawn, label_space_of_names("benchmark", of_row), seed=seed).labels
        write_labelmap(target, drawn)
    return target
