"""What section Fine-tune says: of the cases, why it cannot start, of a run that works, of one that is finished."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from ..scene.scene_cases import SceneCase, label_space_names
from ..shell.parameters import FineTuneParameters
from .run import RunResult, name_reason, replay_reason
from .verdict_text import measured_on_short


def summary(cases: Sequence[SceneCase]) -> str:
    """How many of the CTs are used, and which organs they show."""
    included = [case for case in cases if case.included]
    organs = ", ".join(label_space_names((), included)).replace("_", " ")
    measured = [case for case in included if case.labelled and case.measured]
    text = _("{used} of {all} CTs are learnt from.").format(used=len(included) - len(measured), all=len(cases))
    if measured:
        text += " " + _("Dice is measured on {count}.").format(count=len(measured))
    return f"{text} " + _("Organs: {organs}.").format(organs=organs or _("none"))


def expected_text(event: Mapping[str, Any]) -> str:
    """What the command says it will do, before the first step."""
    return _("About {minutes:.1f} min, {steps} steps; to be learnt: {organs}.").format(
        minutes=event["expected_minutes"], steps=event["steps"],
        organs=event.get("changed", "").replace("_", " ") or _("nothing"))


def why_not_start(cases: Sequence[SceneCase], settings: FineTuneParameters, models: Collection[str]) -> str:
    """Why no run can be started with these cases and settings; empty when one can."""
    # in the order in which a user would mend it: CTs, labels, then settings
    included = [case for case in cases if case.included]
    labelled = [case for case in included if case.labelled]
    if not cases:
        return _("There is no CT in the scene, and none with labels in the work list.")
    if not included:
        return _("Tick at least one CT.")
    if not labelled:
        return _("Nothing to learn from: accept an organ in section Review or draw a stroke in section Strokes.")
    if settings.measure and all(case.measured for case in labelled):
        return _("All annotated CTs are ticked under Measure: leave one to learn from.")
    if settings.model not in models:
        return _("No model is installed.")
    if settings.recipe.strip() and not Path(settings.recipe.strip()).is_file():
        return _("Recipe: there is no such file.")
    return replay_reason(settings.replay.strip()) or name_reason(settings.name.strip(), settings.model)


def result_text(result: RunResult) -> str:
    """Which model to go on with, and what that was measured on."""
    head = _("The start model is the better one")
    if result.better:
        head = _("The new model is the better one")
    return " ".join(filter(None, [f"{head}: {result.reason}.", _measured_text(result)]))


def _measured_text(result: RunResult) -> str:
    """`Measured on slabs; kept organs on phantoms.` Empty when nothing was measured; the table's tips say more."""
    learnt, unchanged = _measured_on(result, changed=True), _measured_on(result, changed=False)
    if not learnt and not unchanged:
        return ""
    if not learnt:
        return _("Only kept organs were measured, on {what}.").format(what=unchanged)
    # kept organs are named apart only where they were measured on something else
    if unchanged in ("", learnt):
        return _("Measured on {what}.").format(what=learnt)
    return _("Measured on {what}; kept organs on {other}.").format(what=learnt, other=unchanged)


def _measured_on(result: RunResult, changed: bool) -> str:
    """What the organs that the run changed, or kept, were measured on: `slabs and phantoms`."""
    names = [measured_on_short(row.measured_on_kind, row.measured_on) for row in result.rows if row.changed == changed]
    return _(" and ").join(dict.fromkeys(names))
