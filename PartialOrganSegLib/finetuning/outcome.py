"""What a run achieved: Dice per organ before and after, and whether its model is worth changing to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..models.bundle import Member
from .plan import Plan

LOSS_TOLERATED = 0.02  # of a kept organ's Dice
START, TUNED = "start", "finetuned"


@dataclass(frozen=True)
class Row:
    """An organ's Dice before and after; `group` is changed (the cases show it) or kept."""

    organ: str
    group: str
    before: float
    after: float
    measured_on: str


@dataclass(frozen=True)
class Outcome:
    """The rows of all measured organs, and which model to go on with: `START` or `TUNED`, with the reason.

    `not_taken_over`: of a joined model, organs that the cases show and the trained network finds no better than the
    member that has the say of them, which keeps it: organ -> that "member" and the trained network's "dice".
    """

    rows: list[Row]
    selected: str
    reason: str
    not_taken_over: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def mean_change(self, group: str) -> float | None:
        """Mean of after - before over a group's organs, None where none was measured."""
        changes = [row.after - row.before for row in self.rows if row.group == group]
        return sum(changes) / len(changes) if changes else None

    def as_metrics(self) -> dict[str, Any]:
        """For the bundle's metadata, and for result.json."""
        not_taken_over = {"not_taken_over": {organ: dict(entry) for organ, entry in self.not_taken_over.items()}}
        return {"selected": self.selected, "reason": self.reason, **(not_taken_over if self.not_taken_over else {}),
                "dice": {row.organ: {"group": row.group, "before": round(row.before, 4), "after": round(row.after, 4),
                                     "measured_on": row.measured_on} for row in self.rows},
                "mean_change": {group: None if change is None else round(change, 4)
                                for group in ("changed", "kept") for change in [self.mean_change(group)]}}

    def no_better(self) -> list[str]:
        """A line for each organ that was not taken over."""
        before = {row.organ: row.before for row in self.rows}
        return [f"{organ} got no better ({before[organ]:.3f} -> {entry['dice']:.3f}); {entry['member']} keeps the say "
                "of it" for organ, entry in self.not_taken_over.items() if organ in before]


def judge(plan: Plan, before: Mapping[str, float], after: Mapping[str, float],
          not_taken_over: Mapping[str, Mapping[str, Any]] | None = None) -> Outcome:
    """Compares the Dice of the start model and of the new one.

    The start model stays selected when a kept organ loses more than 0.02, when the organs that were to be learnt are no
    better on average, and when nothing was measured. Organs that were `not_taken_over` (see `Outcome`) are as they were
    and do not count as learnt.
    """
    not_taken_over = not_taken_over or {}
    rows = [Row(organ, "changed" if organ in plan.changed else "kept", before[organ], after[organ], measured_on)
            for organ in [*plan.changed, *plan.kept] if (measured_on := plan.measured_on.get(organ)) is not None
            and organ in before and organ in after]
    lost = [row for row in rows if row.group == "kept" and row.before - row.after > LOSS_TOLERATED]
    groups = {row.group for row in rows}
    gain = Outcome([row for row in rows if row.organ not in not_taken_over], START, "").mean_change("changed")
    nothing_learnt = bool(not_taken_over) and all(organ in not_taken_over for organ in plan.changed)
    if lost:
        worst = max(lost, key=lambda row: row.before - row.after)
        others = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        reason = (f"{worst.organ}{others} lost more than {LOSS_TOLERATED} ({worst.before:.3f} -> {worst.after:.3f}); "
                  "the start model stays selected")
    elif not rows:
        reason = "nothing was left to measure on; the start model stays selected, judge the new one by eye"
    elif nothing_learnt:
        reason = "none of the organs to be learnt got better; the start model stays selected"
    elif gain is not None and gain <= 0:
        reason = f"the organs to be learnt are not better (mean {gain:+.3f}); the start model stays selected"
    else:
        said = "not measured" if gain is None else f"mean {gain:+.3f}"
        kept = f"no kept organ {'lost more than ' + str(LOSS_TOLERATED) if 'kept' in groups else 'was measured'}"
        return Outcome(rows, TUNED, f"{kept}; organs to be learnt: {said}", not_taken_over)
    return Outcome(rows, START, reason, not_taken_over)


def table(outcome: Outcome) -> list[dict[str, str]]:
    """A row of the printed table for each measured organ."""
    return [{"organ": row.organ, "": row.group, "before": f"{row.before:.3f}", "after": f"{row.after:.3f}",
             "change": f"{row.after - row.before:+.3f}", "measured on": row.measured_on.partition(" (")[0]}
            for row in outcome.rows]


def card(name: str, plan: Plan, outcome: Outcome, members: Sequence[Member] = ()) -> str:
    """The new bundle's README; `members` are those of a joined one."""
    parent = plan.lineage.parent
    lines = [f"# {name}", "", f"Fine-tuned from {parent.name} {parent.version} (SHA-256 of its list of checksums "
             f"{parent.sha256}). Research only.", "", "Learnt from:", ""]
    lines += [f"- {organ}: cases: {entry.cases} ({', '.join(entry.kinds)}), voxels: {entry.voxels}"
              for organ, entry in plan.lineage.learnt.items()]
    lines += ["", "| organ | | before | after | measured on |", "|---|---|---|---|---|"]
    lines += [f"| {row.organ} | {row.group} | {row.before:.3f} | {row.after:.3f} | {row.measured_on} |"
              for row in outcome.rows]
    if members:
        lines += ["", "Networks, and the organs of which each has the say:", ""]
        lines += [f"- {member.bundle.name} {member.bundle.metadata.version}: {', '.join(member.organs)}"
                  for member in members]
    if outcome.not_taken_over:
        lines += ["", *(f"- {line}" for line in outcome.no_better())]
    return "\n".join([*lines, "", outcome.reason[:1].upper() + outcome.reason[1:] + ".", ""])
