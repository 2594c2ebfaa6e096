"""Replay: cases that hold what the start model knew, so that training on the new ones does not push it out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
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
from .cases import TakenCase, take_cases
from .holdout import NOTHING, hold_out
from .measured_on import MeasuredOn

PHANTOMS_TRAINED, PHANTOMS_MEASURED = 2, 2
FIELD_MM = (470.0, 265.0, 420.0)  # z, y, x: the whole of a phantom's body


@dataclass(frozen=True)
class Replay:
    """Cases to train and to measure on, and for each measured organ what it is measured on.

    `anywhere`: images alone, of which patches are taken from anywhere in them.
    """

    training: list[TakenCase]
    measured: list[TakenCase]
    measured_on: dict[int, MeasuredOn]
    anywhere: Sequence[TakenCase] = ()


def replay_set(setting: str, space: LabelSpace, spacing_zyx: Sequence[float], changed: Sequence[int],
               measured_already: Sequence[int], measure: bool, folder: Path, reporter: Reporter,
               images: Collection[str] = (), force: bool = False) -> Replay:
    """The replay set that `setting` asks for: "phantoms", "none" or a manifest's path.

    Phantoms tell where `changed` organs are; the rest of them is the start model's to teach.
    With `measure`, some of it is left out to be measured on; of a manifest as of the cases themselves. Phantoms are not
    asked about `changed` organs, nor about any that real cases measure: synthetic figures say little of those.
    `images` are checksums of the run's own: replayed, they would be trained on and measured on, so they are left out.
    Raises UserError as `take_cases`, and where no case is left.
    """
    if setting == NONE:
        return Replay([], [], {})
    if setting != PHANTOMS:
        manifest = load_manifest(setting, reporter)
        taken = take_cases(manifest.cases, manifest.label_space, space, spacing_zyx, folder, reporter, force=force)
        taken = _others(taken, images, reporter)
        there = {case.group for case in taken}
        groups = [group for group in manifest.validation_groups() if group in there]
        held = hold_out(taken, groups if measure else [NOTHING], folder)
        return Replay([case for case in held.training if case.weight > 0], held.measured,
                      dict.fromkeys(held.measured_on, MeasuredOn.REPLAY))
    shared = [label for label, name in enumerate(space.names, 1) if name in WORD16.names]
    if not shared:
        reporter.warning(Problem(Code.SETTING_IGNORED, "replay", hint="nothing is replayed",
                                 found="phantoms show none of the model's organs"))
        return Replay([], [], {})
    asked = [label for label in shared if measure and label not in {*changed, *measured_already}]
    cases = phantom_cases(PHANTOMS_TRAINED + (PHANTOMS_MEASURED if asked else 0), spacing_zyx, folder, reporter)
    blurred = [label for label in shared if label not in asked]
    # Told everything, the run also learns what kept organs look like in phantoms; on the real CT hardest for the start
    # model that cost them most. What is to be learnt gained by the phantoms' shapes.
    told = [label for label in shared if label in changed]
    training = take_cases(cases[:PHANTOMS_TRAINED], WORD16, space, spacing_zyx, folder, reporter, told=told)
    measured = take_cases(cases[PHANTOMS_TRAINED:], WORD16, space, spacing_zyx, folder, reporter, blurred)
    # Patches around what is to be learnt leave out the rest of the body, which the start model knew too.
    anywhere = [replace(case, name=f"{case.name} anywhere", sets=case.sets[:OUTSIDE + 1], counts=(sum(case.counts), 0),
                        slices={}, voxels={}) for case in training]
    return Replay(training, measured, dict.fromkeys(asked, MeasuredOn.PHANTOMS), anywhere)


def _others(cases: Sequence[TakenCase], images: Collection[str], reporter: Reporter) -> list[TakenCase]:
    """The cases that show none of `images`. Raises UserError when there is none."""
    for case in cases:
        if case.image_sha256 in images:
            reporter.warning(Problem(Code.CASE_SKIPPED, "replay",
                                     found=f"{case.name} shows an image of --data, and is left out"))
    others = [case for case in cases if case.image_sha256 not in images]
    if not others:
        raise UserError(code=Code.NO_CASES, subject="--replay",
                        expected="a case that shows another image than those of --data", found="none")
    return others


def phantom_cases(count: int, spacing_zyx: Sequence[float], folder: Path, reporter: Reporter) -> list[Case]:
    """Makes phantoms of seeds 0, 1, ... at the working spacing, as fully labelled cases of WORD's organs."""
    folder.mkdir(parents=True, exist_ok=True)
    spacing = (float(spacing_zyx[0]), float(spacing_zyx[1]), float(spacing_zyx[2]))
    sizes = np.ceil(np.array(FIELD_MM) / spacing).astype(int)
    cases = []
    for seed in range(count):
        image, label = (folder / f"phantom_{seed}.{part}.nii.gz" for part in ("image", "label"))
        ct, labels = make_phantom((int(sizes[0]), int(sizes[1]), int(sizes[2])), spacing, seed)
        write_ct(image, ct)
        write_labelmap(label, labels)
        cases.append(Case(f"phantom_{seed}", f"phantom_{seed}", "replay", image, Kind.FULL, label))
        reporter.progress("making phantoms", seed + 1, count)
    return cases
