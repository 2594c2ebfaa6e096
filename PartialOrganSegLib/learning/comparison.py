"""The folder's CTs as the start model and as the new one segment them: label maps, volumes, and Dice where drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from ..annotation import Kind
from ..datasets.case import Case
from ..datasets.manifest import Manifest
from ..errors import Code, Problem, UserError
from ..evaluation import evaluation
from ..evaluation.metrics import joint_counts
from ..events import Reporter
from ..finetuning.drift import CaseLook, Drift, drifts
from ..finetuning.looking import organ_looks, run_labels
from ..finetuning.plan import write_json
from ..formats.reading import read_labelmap
from ..formats.writing import write_labelmap
from ..imaging.components import voxel_counts
from ..imaging.volume import Volume
from ..json_file import read_json
from ..models.bundle import Bundle
from ..models.checksums import MANIFEST, sha256
from ..organs import LabelSpace
from ..segmenting.options import SegmentOptions
from ..segmenting.segmenter import Segmenter
from .obeying import Obedience, obeying_strokes

START, NEW = "start", "new"
_MOST_ANNOTATED = 4  # of the CTs with drawings that are segmented as well, to see before and after beside them


@dataclass
class Comparison:
    """`labels[model][case]` are label maps in `space`; `dice[model][case][organ]`, of cases with drawings.

    `cases`: those that were segmented with both models, the ones without drawings first.
    """

    space: LabelSpace
    cases: list[Case] = field(default_factory=list)
    labels: dict[str, dict[str, Path]] = field(default_factory=dict)
    volumes: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    dice: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)


def chosen_cases(manifest: Manifest) -> list[Case]:
    """All CTs without drawings, and of those with some the first few, strokes before masks."""
    undrawn = [case for case in manifest.cases if case.kind is Kind.UNLABELLED]
    annotated = [case for case in manifest.cases if case.kind is not Kind.UNLABELLED]
    annotated.sort(key=lambda case: case.kind is not Kind.SCRIBBLE)
    return [*undrawn, *annotated[:_MOST_ANNOTATED]]


def compare_models(manifest: Manifest, models: dict[str, Bundle], folder: Path, device: str,
                   reporter: Reporter) -> Comparison:
    """Segments the chosen CTs with both models into FOLDER/start and FOLDER/new; what lies there from before, of the
    same model and CT, is kept.

    A CT that cannot be segmented is reported and left out of the comparison.
    """
    space = models[NEW].label_space
    result = Comparison(space, chosen_cases(manifest))
    failed: set[str] = set()
    for moment, bundle in models.items():
        segmenter: Segmenter | None = None
        result.labels[moment] = {}
        for number, case in enumerate(result.cases):
            target = folder / moment / f"{case.name}.labels.nii.gz"
            reporter.progress(f"segmenting with the {moment} model", number, len(result.cases))
            source = _source_of(bundle, case)
            if not _is_of(target, source) and case.name not in failed:
                # Loaded only where something is left to do: it takes seconds.
                segmenter = segmenter or Segmenter(SegmentOptions(
                    model=str(bundle.folder), device=device, force=True, preview=False, overwrite=True))
                problem = _segment(segmenter, case, target, manifest.label_space, moment == NEW, reporter)
                if problem is not None:
                    failed.add(case.name)
                    continue
                write_json(_beside(target, "source"), source)
            result.labels[moment][case.name] = target
        reporter.progress(f"segmenting with the {moment} model", len(result.cases), len(result.cases))
    result.cases = [case for case in result.cases if case.name not in failed]
    for moment, bundle in models.items():
        result.volumes[moment] = {case.name: _volumes(result.labels[moment][case.name], bundle.label_space)
                                  for case in result.cases}
    return result


def _segment(segmenter: Segmenter, case: Case, target: Path, space: LabelSpace, is_new: bool,
             reporter: Reporter) -> Problem | None:
    """Segments one CT; the problem where that is not possible. With the new model strokes are obeyed, in `space`."""
    try:
        result = segmenter(case.image, reporter=reporter)
        if is_new and case.kind is Kind.SCRIBBLE:
            result, obedience = obeying_strokes(result, case, space, reporter)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_json(_beside(target, "strokes"), asdict(obedience))
        result.save(target.parent, name=case.name, reporter=reporter)
    except UserError as error:
        reporter.warning(error.problem.within(case.name))
        return error.problem
    return None


def _beside(labels: Path, what: str) -> Path:
    return labels.with_name(f"{labels.name.removesuffix('.labels.nii.gz')}.{what}.json")


def _source_of(bundle: Bundle, case: Case) -> dict[str, object]:
    """Which model and which CT a label map is of, as it is noted beside it."""
    image = case.image.stat()
    return {"model": sha256(bundle.folder / MANIFEST), "image": case.image.name, "bytes": image.st_size,
            "modified": image.st_mtime_ns}


def _is_of(labels: Path, source: dict[str, object]) -> bool:
    """Whether a label map is there, and of that model and CT."""
    if not labels.is_file():
        return False
    try:
        return bool(read_json(_beside(labels, "source"), "what a label map is of") == source)
    except (UserError, FileNotFoundError):
        return False


def obedience_of(comparison: Comparison, case: Case) -> Obedience | None:
    """How far the new model agreed with the strokes on a CT; None where there are none, or an earlier version ran."""
    file = _beside(comparison.labels[NEW][case.name], "strokes")
    if not file.is_file():
        return None
    content = read_json(file, "agreement with strokes")
    try:
        return TypeAdapter(Obedience).validate_python(content)
    except ValidationError as error:
        raise UserError(code=Code.WRONG_FORMAT, subject=file, expected="agreement with strokes",
                        found=" ".join(str(error).split())[:200]) from None


def _volumes(labels: Path, space: LabelSpace) -> dict[str, float]:
    """ml of each organ."""
    volume = read_labelmap(labels)
    counts = voxel_counts(volume.array, space.class_count) * volume.grid.voxel_ml
    return {organ.name: float(counts[organ.index]) for organ in space.organs}


def measure(comparison: Comparison, manifest: Manifest, models: dict[str, Bundle], folder: Path,
            reporter: Reporter) -> None:
    """Dice of both models with what was drawn, into `comparison.dice` and FOLDER/dice.json.

    These are the CTs that the new model learnt from, so its figures are optimistic; the verdict is not made of them.
    """
    annotated = [case for case in comparison.cases if case.kind is not Kind.UNLABELLED]
    for moment, bundle in models.items():
        translated = _in_space(comparison, moment, bundle, manifest.label_space, folder)
        scored = evaluation.evaluate(annotated, translated, manifest.label_space, evaluation.Options(worst=0), reporter)
        of_model: dict[str, dict[str, float]] = {}
        for score in scored.scores:
            if score.dice is not None:
                of_model.setdefault(score.case, {})[score.structure] = score.dice
        comparison.dice[moment] = of_model
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "dice.json", {"measured_on": "the CTs learnt from (optimistic)", **comparison.dice})


def _in_space(comparison: Comparison, moment: str, bundle: Bundle, space: LabelSpace, folder: Path) -> dict[str, Path]:
    """Case to its label map with the values of `space`: the start model numbers organs in its own way."""
    paths = {}
    for case in comparison.cases:
        path = comparison.labels[moment][case.name]
        if bundle.label_space.names != space.names[:len(bundle.label_space.names)]:
            path = _renumbered(path, bundle.label_space, space, folder / moment / path.name)
        paths[case.name] = path
    return paths


def _renumbered(path: Path, source: LabelSpace, space: LabelSpace, target: Path) -> Path:
    """The label map with the numbers of `source`, written into `target` with those of `space`."""
    value_of = np.zeros(source.class_count, np.uint8)
    for organ in source.organs:
        if organ.name in space.names:
            value_of[organ.index] = space.index(organ.name)
    labels = read_labelmap(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_labelmap(target, Volume(value_of[labels.array], labels.grid))
    return target


def changed_volumes(comparison: Comparison, organs: Sequence[str]) -> list[dict[str, object]]:
    """A row for each CT without drawings and organ: ml before and after."""
    rows: list[dict[str, object]] = []
    for case in comparison.cases:
        if case.kind is not Kind.UNLABELLED:
            continue
        for organ in organs:
            before = comparison.volumes[START][case.name].get(organ)
            rows.append({"case": case.name, "organ": organ, "before": before,
                         "after": comparison.volumes[NEW][case.name].get(organ)})
    return rows


def compared_drifts(comparison: Comparison, start: LabelSpace, organs: Sequence[str]) -> list[Drift]:
    """How `organs`, of which no mask tells anything, differ between both models over all CTs that were segmented.

    `start`: the start model's organs. The label maps are those a user gets, so that stray parts do not count.
    """
    space, label_of = comparison.space, run_labels(start, comparison.space)
    looks = []
    for case in comparison.cases:
        before = read_labelmap(comparison.labels[START][case.name])
        after = read_labelmap(comparison.labels[NEW][case.name])
        counts = joint_counts(after.array, label_of[before.array], (space.class_count, space.class_count))
        looks.append(CaseLook(case=case.name, organs=organ_looks(counts, space, before.grid.voxel_ml, {}, {})))
    return drifts(looks, organs)


def save_volumes(comparison: Comparison, folder: Path) -> None:
    """Writes FOLDER/volumes.json: ml of every organ and CT, of both models."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "volumes.json", comparison.volumes)
