"""What section Fine-tune says: of the cases, of a run that works, of one that is finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from slicer.i18n import tr as _

from .finetune_cases import SceneCase
from .finetune_run import RunResult


def summary(cases: Sequence[SceneCase]) -> str:
    """How many of the CTs are used, and which organs they show."""
    included = [case for case in cases if case.included]
    organs = dict.fromkeys(organ.replace("_", " ") for case in included for organ in case.organs)
    text = _("{used} of {all} CTs are learnt from.").format(used=len(included), all=len(cases))
    return f"{text} " + _("Organs: {organs}.").format(organs=", ".join(organs) or _("none"))


def expected_text(event: Mapping[str, Any]) -> str:
    """What the command says it will do, before the first step."""
    return _("About {minutes:.1f} min, {steps} steps; to be learnt: {organs}.").format(
        minutes=event["expected_minutes"], steps=event["steps"],
        organs=event.get("changed", "").replace("_", " ") or _("nothing"))


def result_text(result: RunResult) -> str:
    """Which model to go on with."""
    head = _("The new model is the better one") if result.better else _("The start model is the better one")
    return f"{head}: {result.reason}."
