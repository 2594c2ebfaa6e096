"""Replay: cases that hold what the start model knew, so that training on the new ones does not push it out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..annotation import OUTSIDE, Kind
from ..datasets.case import Case
from ..datasets.manifest import load_manifest
from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..formats.writing import write_ct, write_labelmap
from ..organs import WORD16, LabelSpace
from ..synthesis.phantom import make_phantom
from . import NONE, PHANTOMS
from .case_preparation import Translation, prepare_cases
from .cases import PreparedCase
from .holdout import NOTHING, hold_out
from .measured_on import MeasuredOn

PHANTOMS_TRAINED, PHANTOMS_MEASURED = 2, 2
# z, y, x: the whole of a phantom's body.
FIELD_MM = (470.0, 265.0, 420.0)


@dataclass(frozen=True)
class Replay:
    """Cases to train and to measure on, and for each measured organ what it is measured on.

    `anywhere`: images alone, of which patches are taken from anywhere in them.
    """

    training: Sequence[PreparedCase] = ()
    measured: Sequence[PreparedCase] = ()
    measured_on: Mapping[int, MeasuredOn] = field(default_factory=dict)
    anywhere: Sequence[PreparedCase] = ()


@dataclass(frozen=True)
class ReplayRequest:
    """What a run replays: `source` is "phantoms", "none" or a manifest's path.

    `changed` organs are to be learnt, `measured_elsewhere` are measured on real cases. With `measure`, some of the
    replay set is left out to be measured on. `images` are checksums of the run's own: replayed, they would be trained
    on and measured on, so they are left out. `spacing_zyx` mm is the working spacing.
    """

    source: str
    space: LabelSpace
    spacing_zyx: Sequence[float]
    changed: Sequence[int] = ()
    measured_elsewhere: Collection[int] = ()
    measure: bool = True
    images: Collection[str] = ()
    force: bool = False


def make_replay(request: ReplayRequest, folder: Path, reporter: Reporter) -> Replay:
    """The replay set; its files go into `folder`.

    Raises UserError as `prepare_cases`, and where no case of a manifest is left.
    """
    if request.source == NONE:
        return Replay()
    if request.source != PHANTOMS:
        return _from_manifest(request, folder, reporter)
    return _from_phantoms(request, folder, reporter)


def _from_manifest(request: ReplayRequest, folder: Path, reporter: Reporter) -> Replay:
    """Cases of a manifest, some of them left out to be measured on as of the run's own cases."""
    manifest = load_manifest(request.source, reporter)
    cases = prepare_cases(manifest.cases, Translation(manifest.label_space, request.space), request.spacing_zyx, folder,
                          reporter, request.force)
    cases = _without_images(cases, request.images, reporter)
    names = [NOTHING]
    if request.measure:
        groups = {case.group for case in cases}
        names = [group for group in manifest.validation_groups() if group in groups]
    held = hold_out(cases, names, folder)
    return Replay([case for case in held.training if case.weight > 0], held.measured,
                  dict.fromkeys(held.measured_on, MeasuredOn.REPLAY))


def _from_phantoms(request: ReplayRequest, folder: Path, reporter: Reporter) -> Replay:
    """Phantoms teach where `changed` organs are; all else is the start model's to teach.

    They do not measure `changed` organs, nor any that real cases measure: synthetic figures say little of those.
    """
    space = request.space
    shared = [label for label, name in enumerate(space.names, 1) if name in WORD16.names]
    if not shared:
        reporter.warning(Problem(Code.SETTING_IGNORED, "replay", hint="nothing is replayed",
                                 found="phantoms show none of the model's organs"))
        return Replay()
    measured_labels = []
    if request.measure:
        elsewhere = {*request.changed, *request.measured_elsewhere}
        measured_labels = [label for label in shared if label not in elsewhere]
    count = PHANTOMS_TRAINED + (PHANTOMS_MEASURED if measured_labels else 0)
    cases = phantom_cases(count, request.spacing_zyx, folder, reporter)
    # With everything annotated, the run also learns what kept organs look like in phantoms; on the real CT hardest for
    # the start model that cost them most. What is to be learnt gained by the phantoms' shapes.
    taught = Translation(WORD16, space, annotated=[label for label in shared if label in request.changed])
    training = prepare_cases(cases[:PHANTOMS_TRAINED], taught, request.spacing_zyx, folder, reporter)
    blurred = Translation(WORD16, space, blurred=[label for label in shared if label not in measured_labels])
    measured = prepare_cases(cases[PHANTOMS_TRAINED:], blurred, request.spacing_zyx, folder, reporter)
    # Patches around what is to be learnt leave out most of the body, which the start model knew too.
    anywhere = [replace(case, name=f"{case.name} anywhere", candidate_sets=case.candidate_sets[:OUTSIDE + 1],
                        set_voxels=(sum(case.set_voxels), 0), slices={}, voxels={}) for case in training]
    return Replay(training, measured, dict.fromkeys(measured_labels, MeasuredOn.PHANTOMS), anywhere)


def _without_images(cases: Sequence[PreparedCase], images: Collection[str], reporter: Reporter) -> list[PreparedCase]:
    """The cases that show none of `images`. Raises UserError when there is none."""
    remaining = []
    for case in cases:
        if case.image_sha256 in images:
            reporter.warning(Problem(Code.CASE_SKIPPED, "replay",
                                     found=f"{case.name} shows an image of --data, and is left out"))
        else:
            remaining.append(case)
    if not remaining:
        raise UserError(code=Code.NO_CASES, subject="--replay",
                        expected="a case that shows another image than those of --data", found="none")
    return remaining


def phantom_cases(count: int, spacing_zyx: Sequence[float], folder: Path, reporter: Reporter) -> list[Case]:
    """Makes phantoms of seeds 0, 1, ... at the working spacing, as fully labelled cases of WORD's organs."""
    folder.mkdir(parents=True, exist_ok=True)
    spacing = (float(spacing_zyx[0]), float(spacing_zyx[1]), float(spacing_zyx[2]))
    sizes = np.ceil(np.array(FIELD_MM) / spacing).astype(int)
    shape = (int(sizes[0]), int(sizes[1]), int(sizes[2]))
    cases = []
    for seed in range(count):
        image, label = folder / f"phantom_{seed}.image.nii.gz", folder / f"phantom_{seed}.label.nii.gz"
        ct, labels = make_phantom(shape, spacing, seed)
        write_ct(image, ct)
        write_labelmap(label, labels)
        cases.append(Case(f"phantom_{seed}", f"phantom_{seed}", "replay", image, Kind.FULL, label))
        reporter.progress("making phantoms", seed + 1, count)
    return cases
