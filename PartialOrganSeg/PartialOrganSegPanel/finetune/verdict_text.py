"""Why a run's model is, or is not, the one to go on with, and what was measured, in the user's language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from slicer.i18n import tr as _

LOSS_TOLERATED = "0.02"  # of a kept organ's Dice, as the library has it
MOST_NAMES = 4  # of organs in one line, as the library has it
LEAST_AGREEMENT = 0.6  # below it both models mean different places, as the library has it


def verdict_text(verdict: Mapping[str, Any]) -> str:
    """One line from the data of a result; empty for a kind that a newer library has."""
    kind = verdict["kind"]
    if kind == "better":
        return _better_text(verdict)
    # One organ stands for all: the table has the rest.
    organ = str(verdict["organ"])
    if verdict["more"]:
        organ = _("{organ} and {count} more").format(organ=organ, count=verdict["more"])
    finding = {
        "kept_organ_lost": _("{organ} lost more than {loss} ({before:.3f} -> {after:.3f}{interval})"),
        "kept_organ_drifted": _("{organ} changed without being learnt ({drift})"),
        "nothing_measured": _unmeasured_text(verdict),
        "none_better": _("none of the organs to be learnt got better"),
        "not_better": _("the organs to be learnt got worse ({gain})"),
        "no_difference": _no_difference_text(verdict)}.get(kind, "")
    if not finding:
        return ""
    finding = finding.format(organ=organ, loss=LOSS_TOLERATED, before=verdict["before"] or 0.0,
                             after=verdict["after"] or 0.0, interval=_interval_text(verdict),
                             drift=_drift_text(verdict), gain=_gain_text(verdict))
    if verdict.get("asked"):
        return _("{finding}; the new model is selected all the same, as asked").format(finding=finding)
    if kind == "nothing_measured":
        return _("{finding}; the start model stays selected, judge the new one by eye").format(finding=finding)
    return _("{finding}; the start model stays selected").format(finding=finding)


def _no_difference_text(verdict: Mapping[str, Any]) -> str:
    known = ", ".join(verdict.get("already_good") or ())
    if known:
        return _("no difference found ({{gain}}), the start model already has {known}: little to learn").format(
            known=known)
    return _("no difference found ({gain})")


def _unmeasured_text(verdict: Mapping[str, Any]) -> str:
    """The organs that could not be measured, of version 0.4 without names, and those that got no better."""
    unmeasured = _listed(verdict.get("unmeasured") or ()) or _("what was learnt")
    no_better = _listed(verdict.get("no_better") or ())
    if no_better:
        return _("{unmeasured} could not be measured on a real CT, {no_better} got no better").format(
            unmeasured=unmeasured, no_better=no_better)
    return _("{unmeasured} could not be measured on a real CT").format(unmeasured=unmeasured)


def _listed(organs: Sequence[str]) -> str:
    """The first few names, and how many more there are, as the library lists them."""
    if len(organs) < 2:
        return "".join(organs)
    if len(organs) > MOST_NAMES:
        return _("{organs} and {count} more").format(organs=", ".join(organs[:MOST_NAMES - 1]),
                                                    count=len(organs) - MOST_NAMES + 1)
    return _("{organs} and {last}").format(organs=", ".join(organs[:-1]), last=organs[-1])


def _better_text(verdict: Mapping[str, Any]) -> str:
    kept_organs = _("no kept organ was measured")
    if verdict["kept_measured"]:
        kept_organs = _("no kept organ lost more than {loss}").format(loss=LOSS_TOLERATED)
    return _("{kept}; organs to be learnt: {learnt}").format(kept=kept_organs, learnt=_gain_text(verdict))


def _gain_text(verdict: Mapping[str, Any]) -> str:
    """Of the mean Dice of the organs to be learnt."""
    if verdict["gain"] is None:
        return _("not measured")
    return _("mean {gain:+.3f}{interval}").format(gain=verdict["gain"], interval=_interval_text(verdict))


def _interval_text(verdict: Mapping[str, Any]) -> str:
    """Empty where the result, of version 0.3, has none."""
    low, high = verdict.get("low"), verdict.get("high")
    if low is None or high is None:
        return ""
    unit = {"patients": _("patients"), "slabs": _("slabs")}.get(verdict["unit"], verdict["unit"])
    return _(", 95 % interval {low:+.3f} to {high:+.3f} over {units} {unit}").format(
        low=low, high=high, units=verdict["units"], unit=unit)


def _drift_text(verdict: Mapping[str, Any]) -> str:
    change, agreement = verdict.get("change"), verdict.get("agreement")
    if change is None or agreement is None:
        return ""
    if agreement < LEAST_AGREEMENT:
        return _("both models agree to {agreement:.2f} on {units} CTs").format(agreement=agreement,
                                                                              units=verdict["units"])
    text = _("{change:+.0f} % of its volume on {units} CTs").format(change=100 * change, units=verdict["units"])
    low, high = verdict.get("low"), verdict.get("high")
    if low is not None and high is not None:
        text += _(", 95 % interval {low:+.0f} to {high:+.0f}").format(low=100 * low, high=100 * high)
    return text


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
