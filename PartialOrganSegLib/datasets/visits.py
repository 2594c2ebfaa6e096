"""Cases that are called like visits of one patient, and that nothing else says so of: they may be on both sides of a
split. A name is no proof, so they stay apart, and it is said.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from ..errors import Code, Problem
from ..formats.strokes_image import SAYS_NOTHING
from .case import Case

_VISIT = re.compile(r"(?<![a-z])[\s._-]*(?:(?:visit|timepoint|session|ses|tp|fu)[\s._-]?\d+"
                    r"|follow[\s._-]?up[\s._-]?\d*|baseline)(?![a-z0-9])", re.IGNORECASE)
_LISTED = 3  # patients that the warning names


def possible_visits(cases: Sequence[Case], stated: Collection[str]) -> Problem | None:
    """A warning of cases in different groups whose names differ by a visit alone, as `p7_visit1` and `p7_visit2`; None
    where there are none. `stated`: names of cases whose group the manifest states, which says enough."""
    of_patient: dict[str, list[Case]] = {}
    told: set[str] = set()  # patients of whom a name says that it is of a visit
    for case in cases:
        patient = _VISIT.sub("", case.name).strip(" ._-").casefold()
        if case.name in stated or not patient or patient in SAYS_NOTHING:
            continue
        of_patient.setdefault(patient, []).append(case)
        if _VISIT.search(case.name):
            told.add(patient)
    apart = [of_one for patient, of_one in of_patient.items()
             if patient in told and len({case.group for case in of_one}) > 1]
    if not apart:
        return None
    listed = "; ".join(" and ".join(case.name for case in of_one[:_LISTED]) for of_one in apart[:_LISTED])
    if len(apart) > _LISTED:
        listed += f"; and those of {len(apart) - _LISTED} more"
    return Problem(Code.CASES_JOINED, "cases", found=f"called like visits of one patient, of which one may be learnt "
                   f"from and another measured on: {listed}", hint="write one 'group' beside them, or different ones")
