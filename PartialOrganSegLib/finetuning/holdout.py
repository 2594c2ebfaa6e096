"""What is left out of training to be measured on: whole cases where there are enough, else slabs of the cases."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import Code, UserError, did_you_mean
from .cases import TakenCase
from .measured_on import MeasuredOn
from .slabs import choose_slabs, judged, split_by_slabs

ENOUGH_GROUPS = 4  # with fewer, leaving one out would take a third of what there is to learn
SHARE = 0.25  # of the groups that is left out

NOTHING = "none"  # asked for: everything is trained on and nothing measured


@dataclass(frozen=True)
class HeldOut:
    """Cases to train and to measure on, and for each measured organ what it is measured on."""

    training: list[TakenCase]
    measured: list[TakenCase]
    measured_on: dict[int, MeasuredOn]


def hold_out(cases: Sequence[TakenCase], wanted: Sequence[str], folder: Path) -> HeldOut:
    """Leaves out the `wanted` cases and groups; without any, a quarter of the groups or slabs of all. Slabs go into
    `folder`.

    `wanted` "none" alone leaves nothing out. A group is left out as a whole, and so are cases of one image. No organ is
    left out of training altogether unless asked for, and none is measured where nothing is said to be another one.
    Raises UserError for an unknown name, and where nothing is left to train or to measure on.
    """
    if list(wanted) == [NOTHING]:
        return HeldOut(list(cases), [], {})
    together = _together(cases)
    known = {case.name: together[case.group] for case in cases} | together
    cases = [replace(case, group=together[case.group]) for case in cases]
    groups = {case.group for case in cases}
    for name in wanted:
        if name not in known:
            raise UserError(code=Code.UNKNOWN_NAME, subject="--validate", expected="names of cases or their groups",
                            found=f"'{name}'", hint=did_you_mean(name, sorted(known)))
    chosen = {known[name] for name in wanted} or _spare_groups(
        [case for case in cases if case.weight > 0 and any(case.absent(label) for label in case.organs)])
    if chosen == groups:
        raise UserError(code=Code.NO_CASES, subject="--validate", expected="a case left to train on", found="none")
    if not chosen:
        return _slabs(cases, folder)
    measured = [case for case in cases if case.group in chosen and case.labelled]
    if not measured:
        raise UserError(code=Code.NO_CASES, subject="--validate", expected="a labelled case to measure on",
                        found=f"none in {', '.join(sorted(chosen))}")
    return HeldOut([case for case in cases if case.group not in chosen], measured,
                   {label: MeasuredOn.CASES for case in measured for label in case.organs if case.absent(label)})


def _together(cases: Sequence[TakenCase]) -> dict[str, str]:
    """For each group the one that stands for it and all that share an image with it, however many between them."""
    parent = {case.group: case.group for case in cases}

    def standing_for(group: str) -> str:
        while parent[group] != group:
            group = parent[group]
        return group

    first: dict[str, str] = {}
    for case in cases:
        parent[standing_for(case.group)] = standing_for(first.setdefault(case.image_sha256, case.group))
    return {group: standing_for(group) for group in parent}


def _spare_groups(cases: Sequence[TakenCase]) -> set[str]:
    """A quarter of the groups, none of which is the only one to show an organ. The same cases give the same ones."""
    groups = sorted({case.group for case in cases}, key=lambda group: hashlib.sha256(group.encode()).digest())
    if len(groups) < ENOUGH_GROUPS:
        return set()
    chosen: set[str] = set()
    for group in groups:
        rest = {label for case in cases if case.group not in chosen | {group} for label in case.organs}
        if len(chosen) < round(SHARE * len(groups)) and all(
                label in rest for case in cases if case.group == group for label in case.organs):
            chosen.add(group)
    return chosen


def _slabs(cases: Sequence[TakenCase], folder: Path) -> HeldOut:
    """Of each organ in each image a fifth of its labelled slices, higher up from image to image."""
    training, measured, measured_on = [], [], {}
    images = {case.image_sha256: [other for other in cases if other.image_sha256 == case.image_sha256]
              for case in cases}
    for number, together in enumerate(images.values()):
        slabs = choose_slabs(_slices(together), (number + 1) / (len(images) + 1))
        slabs = judged(together, slabs)
        for case in together:
            rest, inside = split_by_slabs(case, slabs, folder) if slabs and case.labelled else (case, case)
            training.append(rest)
            shown = {label for slab in slabs for label in slab.organs if label in case.organs}
            if shown and case.weight > 0:
                measured.append(inside)
                measured_on |= dict.fromkeys(shown, MeasuredOn.SLABS)
    return HeldOut(training, measured, measured_on)


def _slices(cases: Sequence[TakenCase]) -> dict[int, np.ndarray]:
    """The axial slices in which one of the cases of an image shows each class."""
    found: dict[int, np.ndarray] = {}
    for case in (case for case in cases if case.weight > 0):
        for label, slices in case.slices.items():
            found[label] = np.union1d(found[label], slices) if label in found else slices
    return found
