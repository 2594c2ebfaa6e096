"""What is left out of training to be measured on: whole cases where there are enough, else slabs of the cases."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import Code, UserError, did_you_mean
from .cases import PreparedCase
from .measured_on import MeasuredOn
from .slabs import choose_slabs, measurable_slabs, split_by_slabs

# With fewer, leaving one out would take a third of what there is to learn.
ENOUGH_GROUPS = 4
SHARE = 0.25  # of the groups that is left out

# As a name to leave out: everything is trained on and nothing measured.
NOTHING = "none"


@dataclass(frozen=True)
class HeldOut:
    """Cases to train and to measure on, and for each measured organ what it is measured on."""

    training: list[PreparedCase]
    measured: list[PreparedCase]
    measured_on: dict[int, MeasuredOn]


def hold_out(cases: Sequence[PreparedCase], names: Sequence[str], folder: Path,
             learnt_before: Collection[str] = ()) -> HeldOut:
    """Leaves out the cases and groups of these `names`; without any, a quarter of the groups or slabs of all. Slabs go
    into `folder`. Of the groups those come first in which no image is one of `learnt_before`, checksums of those that
    the start model was trained on.

    "none" alone leaves nothing out. A group is left out as a whole, and so are cases of one image. No organ is left out
    of training altogether unless its cases are named, and none is measured where nothing is said to be another one.
    Raises UserError for an unknown name, and where nothing is left to train or to measure on.
    """
    if list(names) == [NOTHING]:
        return HeldOut(list(cases), [], {})
    joined = _joined_groups(cases)
    group_of_name = {case.name: joined[case.group] for case in cases} | joined
    cases = [replace(case, group=joined[case.group]) for case in cases]
    names = _with_commas(names, group_of_name)
    if NOTHING in names and NOTHING not in group_of_name:
        raise UserError(code=Code.SETTINGS_CONFLICT, subject="--validate",
                        expected=f"names of cases, or {NOTHING} alone", found=", ".join(names))
    for name in names:
        if name not in group_of_name:
            listed = ", ".join([NOTHING, *dict.fromkeys(case.name for case in cases)])
            raise UserError(code=Code.UNKNOWN_NAME, subject="--validate",
                            expected=f"names of cases or their groups ({listed})", found=f"'{name}'",
                            hint=did_you_mean(name, sorted(group_of_name)))
    left_out = {group_of_name[name] for name in names}
    if not left_out:
        left_out = _spare_groups([case for case in cases if _measurable(case)], learnt_before)
    if left_out == {case.group for case in cases}:
        raise UserError(code=Code.NO_CASES, subject="--validate", expected="a case left to train on", found="none")
    if not left_out:
        return _slabs(cases, folder)
    measured = [case for case in cases if case.group in left_out and case.labelled]
    if not measured:
        raise UserError(code=Code.NO_CASES, subject="--validate", expected="a labelled case to measure on",
                        found=f"none in {', '.join(sorted(left_out))}")
    measured_on = {}
    for case in measured:
        for label in case.organs:
            if case.absent(label):
                measured_on[label] = MeasuredOn.CASES
    return HeldOut([case for case in cases if case.group not in left_out], measured, measured_on)


def _with_commas(names: Sequence[str], known: Collection[str]) -> list[str]:
    """The names, those that hold a comma put together again: a command line parts a list of names at each.

    >>> _with_commas(["case1", "Miller", "J"], ["Miller, J", "case1"])
    ['case1', 'Miller, J']
    """
    if all(name in known for name in names):
        return list(names)
    in_pieces = {tuple(part.strip() for part in name.split(",") if part.strip()): name for name in known}
    result: list[str] = []
    start = 0
    while start < len(names):
        # The longest first, where both "Miller" and "Miller, J" are cases.
        lengths = (length for length in range(len(names) - start, 0, -1)
                   if tuple(names[start:start + length]) in in_pieces)
        length = next(lengths, 1)
        result.append(in_pieces.get(tuple(names[start:start + length]), names[start]))
        start += length
    return result


def _measurable(case: PreparedCase) -> bool:
    """Whether some organ can be measured on the case: it shows it, and says of some voxels that they are not it."""
    return case.weight > 0 and any(case.absent(label) for label in case.organs)


def _joined_groups(cases: Sequence[PreparedCase]) -> dict[str, str]:
    """For each group the one that stands for it and all that share an image with it, however many between them."""
    parent = {case.group: case.group for case in cases}

    def root(group: str) -> str:
        while parent[group] != group:
            group = parent[group]
        return group

    first_of_image: dict[str, str] = {}
    for case in cases:
        parent[root(case.group)] = root(first_of_image.setdefault(case.image_sha256, case.group))
    return {group: root(group) for group in parent}


def _spare_groups(cases: Sequence[PreparedCase], learnt_before: Collection[str]) -> set[str]:
    """A quarter of the groups, none of which is the only one to show an organ. The same cases give the same ones."""
    # In an order that depends on no other group, so that a new case changes little.
    # A random one would measure each run on other cases.
    groups = sorted({case.group for case in cases}, key=lambda group: hashlib.sha256(group.encode()).digest())
    # What the start model has learnt says little of it; the others keep their order.
    seen = {case.group for case in cases if case.image_sha256 in learnt_before}
    groups.sort(key=lambda group: group in seen)
    if len(groups) < ENOUGH_GROUPS:
        return set()
    spare: set[str] = set()
    for group in groups:
        if len(spare) >= round(SHARE * len(groups)):
            break
        remaining, shown = set(), set()
        for case in cases:
            if case.group == group:
                shown.update(case.organs)
            elif case.group not in spare:
                remaining.update(case.organs)
        if shown <= remaining:
            spare.add(group)
    return spare


def _slabs(cases: Sequence[PreparedCase], folder: Path) -> HeldOut:
    """Of each organ in each image a fifth of its labelled slices, higher up from image to image."""
    training, measured = [], []
    measured_on: dict[int, MeasuredOn] = {}
    images: dict[str, list[PreparedCase]] = {}
    for case in cases:
        images.setdefault(case.image_sha256, []).append(case)
    for number, of_image in enumerate(images.values()):
        slabs = choose_slabs(_labelled_slices(of_image), (number + 1) / (len(images) + 1))
        slabs = measurable_slabs(of_image, slabs)
        # Of all slabs of the image: a case that does not show an organ has nothing to measure it by.
        left_out: set[int] = set()
        for slab in slabs:
            left_out |= slab.organs
        for case in of_image:
            if not slabs or not case.labelled:
                training.append(case)
                continue
            outside, inside = split_by_slabs(case, slabs, folder)
            training.append(outside)
            shown = left_out & set(case.organs)
            if shown and case.weight > 0:
                measured.append(inside)
                measured_on |= dict.fromkeys(shown, MeasuredOn.SLABS)
    return HeldOut(training, measured, measured_on)


def _labelled_slices(cases: Sequence[PreparedCase]) -> dict[int, npt.NDArray[np.intp]]:
    """The axial slices in which one of the cases of an image shows each class."""
    slices_of: dict[int, npt.NDArray[np.intp]] = {}
    for case in cases:
        if case.weight == 0:
            continue
        for label, slices in case.slices.items():
            slices_of[label] = np.union1d(slices_of.get(label, slices), slices)
    return slices_of
