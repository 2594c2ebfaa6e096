"""Why a run's model is, or is not, the one to go on with, and what was measured, in the user's language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slicer.i18n import tr as _

LOSS_TOLERATED = "0.02"  # of a kept organ's Dice, as the library has it


def verdict_text(verdict: Mapping[str, Any]) -> str:
    """One line from the data of a result; empty for a kind that a newer library has."""
    kind, gain = verdict["kind"], verdict["gain"]
    if kind == "better":
        return _better_text(bool(verdict["kept_measured"]), gain)
    text = {
        "kept_organ_lost": _("{organ} lost more than {loss} ({before:.3f} -> {after:.3f}); the start model stays "
                             "selected"),
        "nothing_measured": _("nothing was left to measure on; the start model stays selected, judge the new one by "
                              "eye"),
        "none_better": _("none of the organs to be learnt got better; the start model stays selected"),
        "not_better": _("the organs to be learnt are not better (mean {gain:+.3f}); the start model stays selected"),
    }.get(kind, "")
    # one organ stands for all: the table has the rest
    organ = str(verdict["organ"])
    if verdict["more"]:
        organ = _("{organ} and {count} more").format(organ=organ, count=verdict["more"])
    return text.format(organ=organ, loss=LOSS_TOLERATED, before=verdict["before"] or 0.0, after=verdict["after"] or 0.0,
                       gain=gain or 0.0)


def _better_text(kept_measured: bool, gain: float | None) -> str:
    """`gain`: of the mean Dice of the organs to be learnt; None when there was nothing to measure it on."""
    kept_organs = _("no kept organ was measured")
    if kept_measured:
        kept_organs = _("no kept organ lost more than {loss}").format(loss=LOSS_TOLERATED)
    learnt_organs = _("not measured")
    if gain is not None:
        learnt_organs = _("mean {gain:+.3f}").format(gain=gain)
    return _("{kept}; organs to be learnt: {learnt}").format(kept=kept_organs, learnt=learnt_organs)


def measured_on_text(kind: str, text: str) -> str:
    """On what a Dice was measured, with what to beware of; `text` is the command's, for a kind that we do not know."""
    return {
        "cases": _("left-out cases"),
        "slabs": _("left-out slabs of the training cases (the same patients, so optimistic)"),
        "phantoms": _("phantoms (synthetic, so a loss on real CTs may not show)"),
        "replay": _("a left-out part of the replay set")}.get(kind, text)


def measured_on_short(kind: str, text: str) -> str:
    """The same without its warning."""
    return {"cases": _("left-out cases"), "slabs": _("left-out slabs of the training cases"),
            "phantoms": _("phantoms"), "replay": _("a left-out part of the replay set")}.get(kind, text)
