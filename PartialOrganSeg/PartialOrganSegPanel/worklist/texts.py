"""What section Work list says of a case."""

from __future__ import annotations

from slicer.i18n import tr as _

from ..shell.work_list import BEGUN, DONE, NEW, SEGMENTED, ListedCase


def state_text(case: ListedCase) -> str:
    """In a few words: `5 of 16 checked`."""
    if case.rejected:
        return _("rejected")
    texts = {NEW: _("new"), SEGMENTED: _("segmented"), DONE: _("done")}
    if case.state == BEGUN and not case.organs:
        return _("strokes")
    if case.state == BEGUN:
        return _("{decided} of {organs} checked").format(decided=case.decided, organs=case.organs)
    return texts.get(case.state, case.state)


def unsure_text(case: ListedCase) -> str:
    """Which organ the model is least sure of; empty where that is not known."""
    if case.worth is None:
        return ""
    return _("{state}; the model is least sure of the {organ} (entropy {worth:.2f} nats)").format(
        state=state_text(case), organ=case.worth_organ.replace("_", " "), worth=case.worth)


def summary(cases: list[ListedCase]) -> str:
    """How far the list is."""
    if not cases:
        return _("No case yet.")
    rejected = sum(case.rejected for case in cases)
    done = sum(case.state == DONE and not case.rejected for case in cases)
    return _("Cases done: {done} of {all}, rejected: {rejected}.").format(done=done, all=len(cases), rejected=rejected)
