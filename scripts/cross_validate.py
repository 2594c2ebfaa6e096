"""Scores models on the CTs they were not trained on, at native resolution, and writes the tables of the model card.

    python scripts/cross_validate.py --manifest ../shared/data/manifest.yaml --strokes Resources/strokes \
        --out OUT.json RUN [RUN ...]

Each RUN is a folder of `partialorganseg train`; the groups its recipe held out are segmented with its model. Of a run
with --folds every patient is segmented by the fold that was validated on them; that fold's best weights were chosen on
these patients too, which flatters it a little. Dice is measured over the voxels that a case's label decides (partial
and coarse labels are candidate sets), and beside it over the drawn strokes: those of --strokes, and of scribbled cases.
A CT's group is the name of the folder its image lies in; of folds, the manifest's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from PartialOrganSegLib.annotation import CandidateTable, Kind
from PartialOrganSegLib.atomic import whole_file
from PartialOrganSegLib.datasets.case import Case
from PartialOrganSegLib.datasets.manifest import Manifest, load_manifest
from PartialOrganSegLib.errors import Code, UserError
from PartialOrganSegLib.evaluation.metrics import candidate_dice, joint_counts
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.organs import LabelSpace
from PartialOrganSegLib.segmenting.predictor import Predictor
from PartialOrganSegLib.training.folds import FOLDS_FILE

COLON, RECTUM = "colon", "rectum"
LABEL, STROKES = "label", "strokes"

# Dice by what it was measured over (LABEL, STROKES) and by organ.
Figures = dict[str, dict[str, float]]


def score_case(case: Case, predictor: Predictor, space: LabelSpace, strokes: Path | None) -> Figures:
    """Dice per organ of one CT: where the case's label decides, and over the strokes drawn on it, if there are any."""
    ct = case.read_image()
    predicted = predictor.predict(ct).labels.array
    figures: Figures = {LABEL: {}, STROKES: {}}
    # Drawn voxels are the easy ones: their figures are never averaged with those of outlines.
    if case.kind is Kind.SCRIBBLE:
        figures[STROKES] = _over_strokes(case, ct, predicted, space)
    else:
        figures[LABEL] = _over_label(case, ct, predicted, space)
    if strokes is not None and (strokes / f"{case.group}.json").exists():
        drawn = replace(case, label=None, strokes=strokes / f"{case.group}.json")
        figures[STROKES] = _over_strokes(drawn, ct, predicted, space)
    return figures


def _over_label(case: Case, ct: Volume, predicted: np.ndarray, space: LabelSpace) -> dict[str, float]:
    table = CandidateTable(space.class_count)
    codes = case.read_codes(ct, space, table)
    counts = joint_counts(predicted, codes, table.table.shape)
    coarse: set[str] = set()
    for _, names in case.label_map:
        coarse.update(names)
    figures = {}
    for organ in space.organs:
        value, voxels = candidate_dice(counts, table.table, [organ.index])
        # An organ that the label has no voxel of counts as 0 where the case vouches for it: it was made up.
        annotated = case.kind is Kind.FULL or organ.name in case.annotated
        if value is not None and (voxels or (annotated and organ.name not in coarse)):
            figures[organ.name] = round(value, 4)
    merged = [organ.index for organ in space.organs if organ.name in (COLON, RECTUM)]
    candidate_sets = [frozenset(np.flatnonzero(row).tolist()) for row in table.table]
    if len(merged) == 2 and frozenset(merged) in candidate_sets:  # a label that does not tell the two apart
        value, voxels = candidate_dice(counts, table.table, merged)
        if value is not None and voxels:
            figures[f"{COLON}_or_{RECTUM}"] = round(value, 4)
    return figures


def _over_strokes(case: Case, ct: Volume, predicted: np.ndarray, space: LabelSpace) -> dict[str, float]:
    table = CandidateTable(space.class_count)
    codes = case.read_codes(ct, space, table)
    counts = joint_counts(predicted, codes, table.table.shape)
    figures = {}
    for organ in space.organs:
        value, voxels = candidate_dice(counts, table.table, [organ.index])
        if value is not None and voxels:
            figures[organ.name] = round(value, 4)
    return figures


def score_run(run: Path, manifest: Manifest, strokes: Path | None) -> dict[str, Figures]:
    """The figures of every CT that a run's recipe held out, or its folds were validated on. Raises UserError for one
    that the manifest has not."""
    folds = run / FOLDS_FILE
    if folds.is_file():
        return _score_folds(run, json.loads(folds.read_text(encoding="utf-8")), manifest, strokes)
    recipe = run / "recipe.yaml"
    if not recipe.is_file():
        raise UserError(code=Code.FILE_MISSING, subject=run, expected="the folder of a training run",
                        found="no recipe.yaml in it")
    held_out = yaml.safe_load(recipe.read_text(encoding="utf-8")).get("hold_out", [])
    cases: dict[str, list[Case]] = {}
    for case in manifest.cases:
        cases.setdefault(case.image.parent.name, []).append(case)
    absent = sorted(set(held_out) - set(cases))
    if absent:
        raise UserError(code=Code.UNKNOWN_NAME, subject=recipe, expected="CTs of the manifest under 'hold_out'",
                        found=", ".join(absent))
    if not held_out:
        raise UserError(code=Code.NO_CASES, subject=recipe, expected="CTs under 'hold_out'", found="none")
    # The recipe's own list, not an argument: nobody can score a model on what it was trained on by mistake.
    predictor = Predictor(load_bundle(run / "model"))
    figures = {}
    for folder in held_out:
        for case in cases[folder]:
            name = folder if len(cases[folder]) == 1 else case.name
            figures[name] = score_case(replace(case, group=folder), predictor, manifest.label_space, strokes)
            print(name, json.dumps(figures[name]), flush=True)
    return figures


def _score_folds(run: Path, folds: Sequence[Sequence[str]], manifest: Manifest,
                 strokes: Path | None) -> dict[str, Figures]:
    """Each patient's CTs by the fold without them. Raises UserError for a patient that the manifest has not."""
    figures = {}
    for number, groups in enumerate(folds):
        absent = sorted(set(groups) - {case.group for case in manifest.cases})
        if absent:
            raise UserError(code=Code.UNKNOWN_NAME, subject=run / FOLDS_FILE, expected="patients of the manifest",
                            found=", ".join(absent))
        predictor = Predictor(load_bundle(run / f"fold_{number}" / "model"))
        for case in manifest.cases:
            if case.group in groups:
                figures[case.name] = score_case(case, predictor, manifest.label_space, strokes)
                print(case.name, json.dumps(figures[case.name]), flush=True)
    return figures


def table_lines(cases: dict[str, Figures], kind: str) -> list[str]:
    """Markdown: an organ a row, mean, lowest and number of CTs. `kind`: LABEL or STROKES."""
    by_organ: dict[str, list[float]] = {}
    for figures in cases.values():
        for name, value in figures[kind].items():
            by_organ.setdefault(name, []).append(value)
    lines = ["| organ | mean Dice | lowest | CTs |", "|---|---|---|---|"]
    for name, values in by_organ.items():
        lines.append(f"| {name.replace('_', ' ')} | {np.mean(values):.2f} | {min(values):.2f} | {len(values)} |")
    return lines


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--strokes", type=Path, help="folder with drawn strokes GROUP.json")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(words)
    result: dict[str, Figures] = {}
    try:
        manifest = load_manifest(arguments.manifest)
        for run in arguments.runs:
            for name, figures in score_run(run, manifest, arguments.strokes).items():
                if name in result:
                    raise UserError(code=Code.NAME_TAKEN, subject=run, expected="CTs that no other run held out",
                                    found=name)
                result[name] = figures
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    with whole_file(arguments.out) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    has_strokes = arguments.strokes is not None or any(figures[STROKES] for figures in result.values())
    kinds = [LABEL, STROKES] if has_strokes else [LABEL]
    for kind in kinds:
        print(f"\n{kind}\n" + "\n".join(table_lines(result, kind)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
