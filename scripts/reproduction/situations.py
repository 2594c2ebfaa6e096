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
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats.reading import read_labelmap
from PartialOrganSegLib.formats.writing import write_labelmap
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.organs import label_space_of_names
from PartialOrganSegLib.synthesis.simulated_scribbles import simulate_scribble

from .references import Reference
from .tables import DataSet

TEST_SHARE = 0.25


@dataclass(frozen=True)
class Situation:
    """Training cases of each data set, and the test cases, which are the same for every seed."""

    organs: tuple[str, ...]
    training: Mapping[str, Sequence[Reference]]
    test: Sequence[Reference]


def situation(references: Sequence[Reference], organs: Sequence[str], datasets: Sequence[DataSet],
              seed: int) -> Situation:
    """The first quarter of the cases, in an order that depends on their names alone, is tested on; the rest is dealt
    to the data sets by their shares, differently for each seed. A case is in one set only.

    Partial sets of none of the organs are left out. Raises UserError when there are fewer cases than sets.
    """
    ordered = sorted(references, key=lambda case: hashlib.sha256(case.name.encode()).digest())
    tested = max(1, round(TEST_SHARE * len(ordered)))
    pool = [ordered[tested:][place] for place in np.random.default_rng(seed).permutation(len(ordered) - tested)]
    datasets = [dataset for dataset in datasets if dataset.kind is not Kind.PARTIAL or set(dataset.organs) & {*organs}]
    own = [dataset for dataset in datasets if dataset.same_cases_as is None]
    if len(pool) < len(own):
        raise UserError(f"expected at least {len(own)} training cases with a label of {', '.join(organs)}, "
                        f"found {len(pool)} beside {tested} to test on")
    shares = np.array([dataset.share for dataset in own], float)
    spare = len(pool) - len(own)  # each set has one case; the spare ones go by the shares
    ends = np.arange(1, len(own) + 1) + np.round(spare * np.cumsum(shares) / shares.sum()).astype(int)
    training = {dataset.name: pool[start:end]
                for dataset, start, end in zip(own, [0, *ends[:-1]], ends, strict=True)}
    for dataset in datasets:
        if dataset.same_cases_as is not None:
            training[dataset.name] = training[dataset.same_cases_as]
    return Situation(tuple(organs), training, ordered[:tested])


def write_manifest(work: Path, place: Situation, datasets: Sequence[DataSet], organs: Sequence[str]) -> Path:
    """The manifest of some data sets in a label space of `organs` (the first ones of the situation's), and the labels
    that it names. The same content always has the same name, and all share one cache."""
    entries = []
    for dataset in datasets:
        annotated = [name for name in dataset.organs if name in organs]
        cases = [{"name": case.name, "image": str(case.image.resolve()),
                  "label": str(_label(case, dataset, place.organs).resolve())} for case in place.training[dataset.name]]
        entry = {"name": dataset.name, "kind": dataset.kind.value, "cases": cases}
        entries.append(entry | ({"annotated": annotated} if dataset.kind is Kind.PARTIAL else {}))
    content = yaml.safe_dump({"label_space": list(organs), "datasets": entries}, sort_keys=False, allow_unicode=True)
    path = work / "manifests" / f"{hashlib.sha256(content.encode()).hexdigest()[:12]}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        temporary.write_text(content, encoding="utf-8")
    return path


def _label(case: Reference, dataset: DataSet, organs: Sequence[str]) -> Path:
    """The file with what `dataset` annotates of a case: nothing else is in it, so nothing else can be learned."""
    if dataset.kind is Kind.FULL:
        return case.labels
    what = hashlib.sha256(json.dumps([dataset.kind.value, dataset.organs]).encode()).hexdigest()[:8]
    target = case.labels.with_name(f"{case.name}-{what}.nii.gz")
    if not target.exists():
        dense = read_labelmap(case.labels)
        if dataset.kind is Kind.SCRIBBLE:
            seed = int.from_bytes(hashlib.sha256(case.name.encode()).digest()[:4], "big")
            drawn = simulate_scribble(dense, label_space_of_names("benchmark", organs), seed=seed).labels
        else:
            kept = [organs.index(name) + 1 for name in dataset.organs if name in organs]
            drawn = Volume(np.where(np.isin(dense.array, kept), dense.array, 0).astype(np.uint8), dense.grid)
        write_labelmap(target, drawn)
    return target
