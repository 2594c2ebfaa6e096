"""What a run achieved: Dice per organ before and after, and whether its model is worth changing to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypedDict

from ..errors import Code, Problem, Severity
from ..models.bundle import Member
from .drift import Drift
from .evidence import PATIENTS, SLABS, OrganEvidence, joint_interval
from .measured_on import MeasuredOn
from .noise import Interval, corrected
from .plan import Plan
from .verdict import ALREADY_GOOD, LOSS_TOLERATED, Verdict, VerdictKind

# What is selected.
START, TUNED = "start", "finetuned"
# Groups of organs: those that the cases show, and all others.
CHANGED, KEPT = "changed", "kept"
# That an organ seems to have lost by chance.
CHANCE = 0.05


class NotTakenOver(TypedDict):
    """The `member` that keeps the say of an organ, and the Dice of the trained network."""

    member: str
    dice: float


@dataclass(frozen=True)
class Row:
    """An organ's Dice before and after; `group` is changed (the cases show it) or kept. `interval`: of the change, over
    patients or slabs (`unit`); None on phantoms."""

    organ: str
    group: str
    before: float
    after: float
    measured_on: MeasuredOn
    interval: Interval | None = None
    unit: str = ""


@dataclass(frozen=True)
class Outcome:
    """The rows of all measured organs, and which model to go on with: `START` or `TUNED`, and the verdict, why so.

    `not_taken_over`: of a joined model, organs that the cases show and the trained network finds no better than the
    member that has the say of them, which keeps it: organ -> that "member" and the trained network's "dice". `drifts`:
    of organs that no mask of a real CT shows.
    """

    rows: list[Row]
    selected: str
    verdict: Verdict
    not_taken_over: Mapping[str, NotTakenOver] = field(default_factory=dict)
    drifts: Sequence[Drift] = ()

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
        metrics["dice"] = {row.organ: _row_data(row) for row in self.rows}
        if self.drifts:
            metrics["drift"] = {drift.organ: drift.as_data() for drift in self.drifts}
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

    def drift_warnings(self) -> list[Problem]:
        """A warning for each organ that phantoms or CTs without masks show to have changed; a verdict may name one."""
        warnings = []
        for row in self.rows:
            if row.measured_on is MeasuredOn.PHANTOMS and row.before - row.after > LOSS_TOLERATED:
                warnings.append(Problem(
                    Code.DRIFTED, row.organ, severity=Severity.WARNING,
                    found=f"{row.before:.3f} -> {row.after:.3f} on phantoms", hint="they are synthetic and decide "
                    "nothing; look at it on a CT"))
        for drift in self.drifts:
            if drift.drifted:
                warnings.append(Problem(
                    Code.DRIFTED, drift.organ, severity=Severity.WARNING, data=drift.as_data(),
                    found=f"{drift.before_ml:.0f} -> {drift.after_ml:.0f} ml on {drift.cases} CTs, both models agree "
                          f"to {drift.agreement:.2f}", hint="look at it"))
        return warnings


def _row_data(row: Row) -> dict[str, object]:
    data: dict[str, object] = {
        "group": row.group, "before": round(row.before, 4), "after": round(row.after, 4),
        "measured_on": row.measured_on.text, "measured_on_kind": row.measured_on.value}
    if row.interval is not None:
        data |= {"low": round(row.interval.low, 4), "high": round(row.interval.high, 4), "units": row.interval.units,
                 "unit": row.unit}
    return data


@dataclass(frozen=True)
class Findings:
    """What is known of a run's model: Dice `before` and `after`, as validation has them, the `evidence` on real CTs and
    the `drifts` of organs without masks. For `not_taken_over` see `Outcome`."""

    before: Mapping[str, float]
    after: Mapping[str, float]
    evidence: Mapping[str, OrganEvidence] = field(default_factory=dict)
    drifts: Sequence[Drift] = ()
    not_taken_over: Mapping[str, NotTakenOver] = field(default_factory=dict)


def compare(plan: Plan, findings: Findings) -> Outcome:
    """Whether the new model is the better one.

    The start model stays selected, unless the plan has `take_new`, when a kept organ lost more than 0.02 Dice and more
    than noise, when one that no mask shows changed its volume or place, and when the organs that were to be learnt
    gained no more than noise. Phantoms decide nothing. Organs that were `not_taken_over` are as they were and do not
    count as learnt.
    """
    rows = []
    for group, organs in ((CHANGED, plan.changed), (KEPT, plan.kept)):
        for organ in organs:
            if organ in plan.measured_on and organ in findings.before and organ in findings.after:
                rows.append(_row(organ, group, plan.measured_on[organ], findings))
    masks = {row.organ for row in rows if row.interval is not None}
    drifts = [drift for drift in findings.drifts if drift.organ in plan.kept and drift.organ not in masks]
    verdict = replace(_verdict(plan, rows, drifts, findings), asked=plan.take_new)
    if verdict.kind is VerdictKind.BETTER:
        verdict = replace(verdict, asked=False)
    selected = TUNED if verdict.takes_new else START
    return Outcome(rows, selected, verdict, findings.not_taken_over, drifts)


def _row(organ: str, group: str, measured_on: MeasuredOn, findings: Findings) -> Row:
    interval, unit = None, ""
    if organ in findings.evidence and measured_on is not MeasuredOn.PHANTOMS:
        interval, unit = findings.evidence[organ].interval, findings.evidence[organ].units
    return Row(organ, group, findings.before[organ], findings.after[organ], measured_on, interval, unit)


def _verdict(plan: Plan, rows: Sequence[Row], drifts: Sequence[Drift], findings: Findings) -> Verdict:
    kept_rows = [row for row in rows if row.group == KEPT and row.interval is not None]
    lost = _lost(kept_rows)
    if lost:
        worst = lost[0]
        verdict = Verdict(VerdictKind.KEPT_ORGAN_LOST, worst.organ, worst.before, worst.after, len(lost) - 1)
        assert worst.interval is not None
        return verdict.with_interval(worst.interval, worst.unit)
    if findings.not_taken_over and all(organ in findings.not_taken_over for organ in plan.changed):
        return Verdict(VerdictKind.NONE_BETTER)
    learnt = [row for row in rows
              if row.group == CHANGED and row.interval is not None and row.organ not in findings.not_taken_over]
    interval = joint_interval([findings.evidence[row.organ] for row in learnt])
    if interval is None:
        no_better = tuple(organ for organ in plan.changed if organ in findings.not_taken_over)
        unmeasured = tuple(organ for organ in plan.changed if organ not in no_better)
        return Verdict(VerdictKind.NOTHING_MEASURED, kept_measured=bool(kept_rows), unmeasured=unmeasured,
                       no_better=no_better)
    drifted = sorted((drift for drift in drifts if drift.drifted), key=lambda drift: drift.agreement)
    # Where nothing was gained, that is what there is to say, and the drift is a warning.
    if interval.higher and drifted:
        return Verdict.of_drift(drifted)
    kind = VerdictKind.NO_DIFFERENCE
    if interval.higher:
        kind = VerdictKind.BETTER
    elif interval.lower:
        kind = VerdictKind.NOT_BETTER
    already_good: tuple[str, ...] = ()
    if kind is VerdictKind.NO_DIFFERENCE:
        already_good = tuple(f"{row.before:.2f} of {row.organ}" for row in learnt if row.before >= ALREADY_GOOD)
    unit = PATIENTS if all(row.unit == PATIENTS for row in learnt) else SLABS
    return Verdict(kind, gain=interval.mean, kept_measured=bool(kept_rows),
                   already_good=already_good).with_interval(interval, unit)


def _lost(rows: Sequence[Row]) -> list[Row]:
    """The rows whose loss is beyond what is tolerated and beyond noise, the worst first."""
    # Of many organs one seems to lose by chance, so that the chance is that of any.
    chances = corrected({row.organ: row.interval.p_lower for row in rows if row.interval is not None})
    lost = [row for row in rows if row.before - row.after > LOSS_TOLERATED and chances[row.organ] < CHANCE]
    return sorted(lost, key=lambda row: row.after - row.before)


def table(outcome: Outcome) -> list[dict[str, str]]:
    """A row of the printed table for each measured organ."""
    rows = []
    for row in outcome.rows:
        interval = ""
        if row.interval is not None:
            interval = f"{row.interval.low:+.3f} to {row.interval.high:+.3f}"
        rows.append({"organ": row.organ, "": row.group, "before": f"{row.before:.3f}", "after": f"{row.after:.3f}",
                     "change": f"{row.after - row.before:+.3f}", "95 % interval": interval,
                     "measured on": row.measured_on.short})
    return rows


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
