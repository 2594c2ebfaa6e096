"""What comes after the training: both models on the folder's CTs, pictures, figures, and the page that shows them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..annotation import UNKNOWN, CandidateTable, Kind
from ..datasets.case import Case
from ..datasets.manifest import Manifest
from ..events import Reporter
from ..finetuning.wording import title
from ..formats.reading import read_labelmap
from ..formats.writing import output_file
from ..imaging.shapes import LabelMap, Mask
from ..imaging.volume import Volume
from ..models.bundle import Bundle
from ..training.curve import CURVE_FILE, write_curve
from .advice import next_steps
from .comparison import (
    NEW,
    START,
    Comparison,
    changed_volumes,
    compare_models,
    compared_drifts,
    measure,
    obedience_of,
    save_volumes,
)
from .page import PageContent, learn_page
from .pictures import before_after_png, shown_organs
from .state import EVALUATION, PAGE, RUN, SEGMENTED

_MOST_PICTURES = 8
_CAPTIONS = {Kind.UNLABELLED: "nothing was drawn on it", Kind.SCRIBBLE: "strokes", Kind.PARTIAL: "masks of some organs",
             Kind.FULL: "masks of all organs"}


@dataclass(frozen=True)
class ReportRequest:
    """What the report is of: the run's folder and files, and the models."""

    output: Path
    manifest: Manifest
    start: Bundle
    new: Bundle
    figures: Mapping[str, Any]
    left_out: Sequence[str] = ()


def write_report(request: ReportRequest, device: str, reporter: Reporter) -> Path:
    """Segments, measures, and writes OUTPUT/report.html; returns it."""
    output, manifest = request.output, request.manifest
    models = {START: request.start, NEW: request.new}
    comparison = compare_models(manifest, models, output / SEGMENTED, device, reporter)
    measure(comparison, manifest, models, output / EVALUATION, reporter)
    save_volumes(comparison, output / EVALUATION)
    learnt = _learnt(request)
    curve = None
    if write_curve(output / RUN, learnt) is not None:
        curve = (output / RUN / CURVE_FILE).read_bytes()
    figures = {**request.figures, "drift": _drift(request, comparison)}
    content = PageContent(
        title=f"Learnt from {_folder_name(output)}", result=figures, cases=_case_rows(manifest),
        left_out=list(request.left_out),
        curve=curve,
        pictures=_pictures(comparison, manifest, learnt, reporter),
        colours={organ.name: organ.colour for organ in shown_organs(comparison.space, learnt)},
        learnt_dice=_learnt_rows(comparison, learnt), strokes=_stroke_rows(comparison),
        volumes=_volume_rows(comparison, learnt),
        steps=next_steps(request.figures, manifest.cases, comparison, learnt),
        warnings=_warnings(request.figures), model=str(request.figures["selected_model"]))
    page = output / PAGE
    with output_file(page) as temporary:
        temporary.write_text(learn_page(content), encoding="utf-8", errors="backslashreplace")
    return page


def _drift(request: ReportRequest, comparison: Comparison) -> dict[str, object]:
    """Organ to its drift, of those that no mask measures: as the run has it, which the verdict is made of, and of the
    CTs that were segmented since for the others."""
    drift: dict[str, object] = dict(request.figures.get("drift", {}))
    dice: Mapping[str, Mapping[str, Any]] = request.figures.get("dice", {})
    learnt = _learnt(request)
    # Phantoms tell nothing of patients.
    measured = {organ for organ, figures in dice.items() if figures.get("low") is not None}
    organs = [name for name in request.start.label_space.names if name not in measured and name not in learnt]
    for of_organ in compared_drifts(comparison, request.start.label_space, organs):
        drift.setdefault(of_organ.organ, of_organ.as_data())
    return drift


def _learnt(request: ReportRequest) -> list[str]:
    """The organs that the run learnt, in label order."""
    lineage = request.new.metadata.partialorganseg.lineage
    if lineage is None:
        return []
    return [name for name in request.new.label_space.names if name in lineage.learnt]


def _folder_name(output: Path) -> str:
    return Path(os.path.abspath(output)).parent.name


def _case_rows(manifest: Manifest) -> list[dict[str, str]]:
    rows = []
    for case in manifest.cases:
        organs = ""
        if case.kind in (Kind.PARTIAL, Kind.SCRIBBLE):
            organs = ", ".join(title(name) for name in case.annotated)
        elif case.kind is Kind.FULL:
            organs = "all"
        drawn_in = ", ".join(path.name for path in (case.label, case.strokes) if path is not None)
        rows.append({"case": case.name, "kind": case.kind.value, "organs": organs, "drawn in": drawn_in})
    return rows


def _pictures(comparison: Comparison, manifest: Manifest, learnt: Sequence[str],
              reporter: Reporter) -> list[tuple[str, bytes]]:
    organs = shown_organs(comparison.space, learnt)
    pictures = []
    for case in comparison.cases[:_MOST_PICTURES]:
        ct = case.read_image()
        before, after = (_labels(comparison, moment, case) for moment in (START, NEW))
        drawn = _drawn(case, ct, manifest, reporter)
        caption = f"{case.name}, {_CAPTIONS[case.kind]}"
        pictures.append((caption, before_after_png(ct, before, after, drawn, organs)))
    return pictures


def _labels(comparison: Comparison, moment: str, case: Case) -> LabelMap:
    """(z, y, x) label map of a model in the new model's numbering."""
    return read_labelmap(comparison.labels[moment][case.name]).array


def _drawn(case: Case, ct: Volume, manifest: Manifest, reporter: Reporter) -> Mask | None:
    """Where an organ was drawn on a CT, by mask or stroke; None where nothing was."""
    if case.kind is Kind.UNLABELLED:
        return None
    table = CandidateTable(manifest.label_space.class_count)
    codes = case.read_codes(ct, manifest.label_space, table, reporter)
    # A voxel that cannot be background is an organ for sure.
    is_organ = np.logical_not(table.table[:, 0])
    is_organ[UNKNOWN] = False
    drawn: Mask = is_organ[codes]
    return drawn


def _learnt_rows(comparison: Comparison, learnt: Sequence[str]) -> list[dict[str, str]]:
    rows = []
    for case in comparison.cases:
        before = comparison.dice.get(START, {}).get(case.name, {})
        after = comparison.dice.get(NEW, {}).get(case.name, {})
        for organ in learnt:
            if organ in before or organ in after:
                rows.append({"case": case.name, "organ": title(organ), "start model": _number(before, organ),
                             "new model": _number(after, organ)})
    return rows


def _stroke_rows(comparison: Comparison) -> list[dict[str, str]]:
    rows = []
    for case in comparison.cases:
        obedience = obedience_of(comparison, case)
        if obedience is not None:
            rows.append({"case": case.name, "drawn voxels": str(obedience.voxels),
                         "new model": f"{obedience.model:.1%}", "its labels": f"{obedience.corrected:.1%}"})
    return rows


def _number(values: Mapping[str, float], organ: str) -> str:
    return f"{values[organ]:.3f}" if organ in values else ""


def _volume_rows(comparison: Comparison, learnt: Sequence[str]) -> list[dict[str, str]]:
    rows = []
    for row in changed_volumes(comparison, learnt):
        rows.append({"case": str(row["case"]), "organ": title(str(row["organ"])),
                     "start model": _millilitres(row["before"]), "new model": _millilitres(row["after"])})
    return rows


def _millilitres(value: object) -> str:
    return f"{value:.0f} ml" if isinstance(value, float) else "unknown to it"


def _warnings(figures: Mapping[str, Any]) -> list[str]:
    """Those of the run, which are texts or events."""
    texts = []
    for warning in figures.get("said", []):
        # Runs of version 0.3 have texts, later ones events.
        text = warning
        if isinstance(warning, dict):
            text = warning.get("message", "")
        texts.append(str(text))
    return texts
