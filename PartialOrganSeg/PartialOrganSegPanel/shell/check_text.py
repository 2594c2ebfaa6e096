"""What is noticed about an organ, in the user's language: in full, and in a few words for a narrow column."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

from slicer.i18n import tr as _

from PartialOrganSegLib.segmenting.check_kinds import CheckKind, OrganCheck, Place


def read_checks(facts: Iterable[Mapping[str, Any]]) -> tuple[OrganCheck, ...]:
    """The checks that an organ's report in a result event holds as data; kinds of a newer library are left out."""
    checks = []
    # a scene may hold results of a newer library, which must not keep it from loading
    for fact in facts:
        with contextlib.suppress(ValueError):
            checks.append(OrganCheck(CheckKind(fact["kind"]), fact["organ"], fact["value"], fact["low"], fact["high"],
                                     fact["detail"]))
    return tuple(checks)


# A kind to its text: made only where it is asked for, since Slicer's translation takes a while and tables ask often.
_SENTENCES = {
    CheckKind.NOT_FOUND: lambda: _("not found"),
    CheckKind.TOUCHES_BORDER: lambda: _("touches the image border: may be cut off"),
    CheckKind.VERY_SMALL: lambda: _("very small: {value:.0f} ml, usual {low:.0f}-{high:.0f} ml"),
    CheckKind.SMALL: lambda: _("small: {value:.0f} ml, usual {low:.0f}-{high:.0f} ml"),
    CheckKind.LARGE: lambda: _("large: {value:.0f} ml, usual {low:.0f}-{high:.0f} ml"),
    CheckKind.VERY_LARGE: lambda: _("very large: {value:.0f} ml, usual {low:.0f}-{high:.0f} ml"),
    CheckKind.SEPARATE_PARTS: lambda: _("{value:.0f} separate parts"),
    CheckKind.STRAY_COMPONENT: lambda: _("stray component of {value:.1f} ml {place}"),
    CheckKind.SIDE_SWAPPED: lambda: _("left and right look swapped with the {twin}"),
    CheckKind.UNCERTAIN: lambda: _("uncertain (entropy {value:.2f} nats)")}
_SHORT = {
    CheckKind.NOT_FOUND: lambda: _("not found"), CheckKind.TOUCHES_BORDER: lambda: _("at the border"),
    CheckKind.VERY_SMALL: lambda: _("very small"), CheckKind.SMALL: lambda: _("small"),
    CheckKind.LARGE: lambda: _("large"), CheckKind.VERY_LARGE: lambda: _("very large"),
    CheckKind.STRAY_COMPONENT: lambda: _("stray part"),
    CheckKind.SEPARATE_PARTS: lambda: _("{count:.0f} separate parts"),
    CheckKind.SIDE_SWAPPED: lambda: _("sides swapped?"), CheckKind.UNCERTAIN: lambda: _("uncertain")}


def check_text(check: OrganCheck) -> str:
    """A sentence for a tooltip."""
    return _SENTENCES[check.kind]().format(value=check.value or 0.0, low=check.low or 0.0, high=check.high or 0.0,
                                           twin=check.detail.replace("_", " "), place=_place(check))


def short_check(check: OrganCheck) -> str:
    """A check in a few words: without its figures and reasons."""
    return _SHORT[check.kind]().format(count=check.value or 0.0)


def _place(check: OrganCheck) -> str:
    """Where a stray component is; empty for other checks, whose detail is no place."""
    if check.kind is not CheckKind.STRAY_COMPONENT:
        return ""
    places = {Place.OUTSIDE_BODY: _("outside the body"), Place.IN_LUNG: _("in the lung"),
              Place.ABOVE_DIAPHRAGM: _("above the diaphragm"), Place.ABOVE_PELVIS: _("above the pelvis"),
              Place.BELOW_ABDOMEN: _("below the abdomen"), Place.BELOW_PELVIS: _("below the pelvis")}
    return places[Place(check.detail)]
