"""What is left out of training to be measured on: whole cases where there are enough, else slabs of the cases."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError, nearest
from .cases import TakenCase
from .slabs import choose_slabs, split_by_slabs

ENOUGH_GROUPS = 4  # with fewer, leaving one out would take a third of what there is to learn
SHARE = 0.25  # of the groups that is left out

NOTHING = "none"  # asked for: everything is trained on and nothing measured
CASES = "left-out cases"
SLABS = "left-out slabs of the training cases (the same patients, so optimistic)"


@dataclass(frozen=True)
class HeldOut:
    """Cases to train and to measure on, and for each measured organ what it is measured on."""

    training: list[TakenCase]
    measured: list[TakenCase]
    measured_on: dict[int, str]


def hold_out(cases: Sequence[TakenCase], wanted: Sequence[str], folder: Path) -> HeldOut:
    """Leaves out the `wanted` groups; without any, a quarter of the groups or slabs of all. Slabs go into `folder`.

    `wanted` "none" alone leaves nothing out. No organ is left out of training altogether unless asked for.
    Raises UserError for an unknown group, and where nothing is left to train or to measure on.
    """
    if list(wanted) == [NOTHING]:
        return HeldOut(list(cases), [], {})
    groups = sorted({case.group for case in cases})
    for name in wanted:
        if name not in groups:
            raise UserError(f"--validate: expected names of cases or their groups, found '{name}'"
                            f"{nearest(name, groups)}")
    chosen = set(wanted) or _spare_groups([case for case in cases if case.organs and case.weight > 0])
    if len(chosen) == len(groups):
        raise UserError("--validate: expected a case left to train on, found none")
    if not chosen:
        return _slabs(cases, folder)
    measured = [case for case in cases if case.group in chosen and case.labelled]
    if not measured:
        raise UserError("--validate: expected a labelled case to measure on, found none in "
                        f"{', '.join(sorted(chosen))}")
    return HeldOut([case for case in cases if case.group not in chosen], measured,
                   {label: CASES for case in measured for label in case.organs})


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
    """Of each organ in each case a fifth of its labelled slices, higher up from case to case."""
    training, measured, measured_on = [], [], {}
    for number, case in enumerate(cases):
        slabs = choose_slabs(case.slices if case.weight > 0 else {}, (number + 1) / (len(cases) + 1))
        if not slabs:
            training.append(case)
            continue
        rest, inside = split_by_slabs(case, slabs, folder)
        training.append(rest)
        measured.append(inside)
        measured_on |= {label: SLABS for slab in slabs for label in slab.organs}
    return HeldOut(training, measured, measured_on)
