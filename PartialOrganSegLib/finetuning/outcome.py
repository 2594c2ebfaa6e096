"""What a run achieved: Dice per organ before and after, and whether its model is worth changing to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from ..errors import Code, Problem, Severity
from ..models.bundle import Member
from .measured_on import MeasuredOn
from .plan import Plan
from .verdict import LOSS_TOLERATED, Verdict, VerdictKind

# What is selected.
START, TUNED = "start", "finetuned"
# Groups of organs: those that the cases show, and all others.
CHANGED, KEPT = "changed", "kept"


class NotTakenOver(TypedDict):
    """The `member` that keeps the say of an organ, and the Dice of the trained network."""

    member: str
    dice: float


@dataclass(frozen=True)
class Row:
    """An organ's Dice before and after; `group` is changed (the cases show it) or kept."""

    organ: str
    group: str
    before: float
    after: float
    measured_on: MeasuredOn


@dataclass(frozen=True)
class Outcome:
    """The rows of all measured organs, and which model to go on with: `START` or `TUNED`, and the verdict, why so.

    `not_taken_over`: of a joined model, organs that the cases show and the trained network finds no better than the
    member that has the say of them, which keeps it: organ -> that "member" and the trained network's "dice".
    """

    rows: list[Row]
    selected: str
    verdict: Verdict
    not_taken_over: Mapping[str, NotTakenOver] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """The verdict in one line."""
        return self.verdict.text()

    def mean_change(self, group: str) -> float | None:
        """Mean of after - before over a group's organs, None where none was measured."""
        changes = [row.after - row.before for row in self.rows if row.group == group]
        return sum(changes) / len(changes) if changes else None

    def as_metrics(self) -> dict[str, object]:
        """For the bundle's metadata, and for result.json."""
        metrics: dict[str, object] = {"selected": self.selected, "reason": self.reason,
                                      "verdict": self.verdict.as_data()}
        if self.not_taken_over:
            metrics["not_taken_over"] = {organ: dict(entry) for organ, entry in self.not_taken_over.items()}
        metrics["dice"] = {
            row.organ: {"group": row.group, "before": round(row.before, 4), "after": round(row.after, 4),
                        "measured_on": row.measured_on.text, "measured_on_kind": row.measured_on.value}
            for row in self.rows}
        mean_change = {}
        for group in (CHANGED, KEPT):
            change = self.mean_change(group)
            mean_change[group] = None if change is None else round(change, 4)
        metrics["mean_change"] = mean_change
        return metrics

    def no_better(self) -> list[Problem]:
        """A warning for each organ that was not taken over."""
        before = {row.organ: row.before for row in self.rows}
        return [Problem(Code.NOT_BETTER, severity=Severity.WARNING, hint=f"{entry['member']} keeps the say of it",
                        found=f"{organ} got no better ({before[organ]:.3f} -> {entry['dice']:.3f})",
                        data={"organ": organ, "before": before[organ], "after": entry["dice"],
                              "member": entry["member"]})
                for organ, entry in self.not_taken_over.items() if organ in before]


def compare(plan: Plan, before: Mapping[str, float], after: Mapping[str, float],
            not_taken_over: Mapping[str, NotTakenOver] | None = None) -> Outcome:
    """Compares the Dice of the start model and of the new one.

    The start model stays selected when a kept organ loses more than 0.02, when the organs that were to be learnt are no
    better on average, and when nothing was measured. Organs that were `not_taken_over` (see `Outcome`) are as they were
    and do not count as learnt.
    """
    not_taken_over = not_taken_over or {}
    rows = []
    for group, organs in ((CHANGED, plan.changed), (KEPT, plan.kept)):
        for organ in organs:
            if organ in plan.measured_on and organ in before and organ in after:
                rows.append(Row(organ, group, before[organ], after[organ], plan.measured_on[organ]))
    gains = [row.after - row.before for row in rows if row.group == CHANGED and row.organ not in not_taken_over]
    gain = sum(gains) / len(gains) if gains else None
    verdict = _verdict(rows, gain, bool(not_taken_over) and all(organ in not_taken_over for organ in plan.changed))
    selected = TUNED if verdict.kind is VerdictKind.BETTER else START
    return Outcome(rows, selected, verdict, not_taken_over)


def _verdict(rows: Sequence[Row], gain: float | None, none_better: bool) -> Verdict:
    """`gain`: the mean change of what was learnt; `none_better`: every such organ stays with another network."""
    kept_rows = [row for row in rows if row.group == KEPT]
    lost = [row for row in kept_rows if row.before - row.after > LOSS_TOLERATED]
    if lost:
        worst = max(lost, key=lambda row: row.before - row.after)
        return Verdict(VerdictKind.KEPT_ORGAN_LOST, worst.organ, worst.before, worst.after, len(lost) - 1)
    if not rows:
        return Verdict(VerdictKind.NOTHING_MEASURED)
    if none_better:
        return Verdict(VerdictKind.NONE_BETTER)
    if gain is not None and gain <= 0:
        return Verdict(VerdictKind.NOT_BETTER, gain=gain)
    return Verdict(VerdictKind.BETTER, gain=gain, kept_measured=bool(kept_rows))


def table(outcome: Outcome) -> list[dict[str, str]]:
    """A row of the printed table for each measured organ."""
    return [{"organ": row.organ, "": row.group, "before": f"{row.before:.3f}", "after": f"{row.after:.3f}",
             "change": f"{row.after - row.before:+.3f}", "measured on": row.measured_on.short}
            for row in outcome.rows]


def card(name: str, plan: Plan, outcome: Outcome, members: Sequence[Member] = ()) -> str:
    """The new bundle's README; `members` are those of a joined one."""
    parent = plan.lineage.parent
    lines = [f"# {name}", "", f"Fine-tuned from {parent.name} {parent.version} (SHA-256 of its list of checksums "
             f"{parent.sha256}). Research only.", "", "Learnt from:", ""]
    lines += [f"- {organ}: cases: {entry.cases} ({', '.join(entry.kinds)}), voxels: {entry.voxels}"
              for organ, entry in plan.lineage.learnt.items()]
    lines += ["", "| organ | | before | after | measured on |", "|---|---|---|---|---|"]
    lines += [f"| {row.organ} | {row.group} | {row.before:.3f} | {row.after:.3f} | {row.measured_on.text} |"
              for row in outcome.rows]
    if members:
        lines += ["", "Networks, and the organs of which each has the say:", ""]
        lines += [f"- {member.bundle.name} {member.bundle.metadata.version}: {', '.join(member.organs)}"
                  for member in members]
    if outcome.not_taken_over:
        lines += ["", *(f"- {warning.text()}" for warning in outcome.no_better())]
    return "\n".join([*lines, "", outcome.reason[:1].upper() + outcome.reason[1:] + ".", ""])
