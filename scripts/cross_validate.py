"""Judges models on the CTs they were not trained on, at native resolution, and writes the tables of the model card.

    python scripts/cross_validate.py --manifest ../shared/data/manifest.yaml --strokes Resources/strokes \
        --out OUT.json RUN [RUN ...]

Each RUN is a folder of `partialorganseg train`; the groups its recipe held out are segmented with its model. Dice is
measured over the voxels that a case's label decides (partial and coarse labels are candidate sets), and beside it over
the drawn strokes, where there is no label.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from PartialOrganSegLib.annotation import CandidateTable
from PartialOrganSegLib.atomic import whole_file
from PartialOrganSegLib.datasets.manifest import Case, load_manifest
from PartialOrganSegLib.evaluation.metrics import candidate_dice, joint_counts
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.organs import LabelSpace
from PartialOrganSegLib.segmenting.predictor import Predictor

COLON, RECTUM = "colon", "rectum"


def judge(case: Case, predictor: Predictor, space: LabelSpace, strokes: Path) -> dict[str, dict[str, float]]:
    """Dice per organ of one CT: `label` where the case's label decides, `strokes` over the drawn voxels."""
    ct = case.read_image()
    predicted = predictor.predict(ct).labels.array
    figures: dict[str, dict[str, float]] = {"label": {}, "strokes": {}}
    table = CandidateTable(space.class_count)
    codes = case.read_codes(ct, space, table)
    coarse = {name for _, names in case.label_map for name in names}
    vouched = set(case.annotated) - coarse
    counts = joint_counts(predicted, codes, table.table.shape)
    for organ in space.organs:
        value, voxels = candidate_dice(counts, table.table, [organ.index])
        if value is not None and (voxels or organ.name in vouched):  # an organ invented counts as 0
            figures["label"][organ.name] = round(value, 4)
    merged = space.indices([COLON, RECTUM])
    if frozenset(merged) in {frozenset(np.flatnonzero(row).tolist()) for row in table.table}:
        value, voxels = candidate_dice(counts, table.table, merged)
        if value is not None and voxels:
            figures["label"][f"{COLON}_or_{RECTUM}"] = round(value, 4)
    drawn_file = strokes / f"{case.group}.json"
    if drawn_file.exists():
        table = CandidateTable(space.class_count)
        codes = replace(case, label=None, strokes=drawn_file).read_codes(ct, space, table)
        counts = joint_counts(predicted, codes, table.table.shape)
        for organ in space.organs:
            value, voxels = candidate_dice(counts, table.table, [organ.index])
            if value is not None and voxels:
                figures["strokes"][organ.name] = round(value, 4)
    return figures


def table_lines(cases: dict[str, dict[str, dict[str, float]]], kind: str) -> list[str]:
    """Markdown: an organ a row, mean, lowest and number of CTs."""
    names = list(dict.fromkeys(name for figures in cases.values() for name in figures[kind]))
    lines = ["| organ | mean Dice | lowest | CTs |", "|---|---|---|---|"]
    for name in names:
        values = [figures[kind][name] for figures in cases.values() if name in figures[kind]]
        lines.append(f"| {name.replace('_', ' ')} | {np.mean(values):.2f} | {min(values):.2f} | {len(values)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--strokes", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    manifest = load_manifest(arguments.manifest)
    result: dict[str, dict[str, dict[str, float]]] = {}
    for run in arguments.runs:
        held_out = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))["hold_out"]
        predictor = Predictor(load_bundle(run / "model"))
        absent = set(held_out) - {case.image.parent.name for case in manifest.cases}
        if absent or set(held_out) & set(result):
            raise SystemExit(f"{run}: expected held-out CTs of {arguments.manifest}, each of one run only; "
                             f"found {', '.join(sorted(absent or set(held_out) & set(result)))}")
        for case in manifest.cases:
            name = case.image.parent.name
            if name in held_out:
                result[name] = judge(replace(case, group=name), predictor, manifest.label_space, arguments.strokes)
                print(name, json.dumps(result[name]), flush=True)
    with whole_file(arguments.out) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for kind in ("label", "strokes"):
        print(f"\n{kind}\n" + "\n".join(table_lines(result, kind)))


if __name__ == "__main__":
    main()
