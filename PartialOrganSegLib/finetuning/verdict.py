"""Why a run's model is, or is not, the one to go on with, as data; the sentence is made when it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from ..errors import Code, Problem, Severity
from ..text_enum import Occurrence
from .drift import LEAST_AGREEMENT, Drift
from .noise import Interval
from .wording import listed

# Of a kept organ's Dice.
LOSS_TOLERATED = 0.02
# Of the start model's Dice: people who draw the same organ agree no better.
ALREADY_GOOD = 0.93
# Of organs in one line.
MOST_NAMES = 4


class VerdictKind(Occurrence):
    """The member's value is what JSON carries; `arises` says when it comes up."""

    KEPT_ORGAN_LOST = ("kept_organ_lost", "`organ` lost more than is tolerated and more than noise (`before`, `after`: "
                       "Dice; `low`, `high`: 95 % interval of the change), and `more` other organs did.")
    KEPT_ORGAN_DRIFTED = ("kept_organ_drifted", "Nothing was to be learnt of `organ` and no mask shows it, and the new "
                          "model finds another volume (`change`, a share of it, with `low` and `high`) or place "
                          "(`agreement`: Dice of both models) on `units` CTs; `more` other organs changed too.")
    NOTHING_MEASURED = ("nothing_measured", "The organs to be learnt of which the new model has the say (`unmeasured`) "
                        "could not be measured on a real CT; `no_better`: the others, which got no better.")
    NONE_BETTER = ("none_better", "No organ to be learnt got better than the member of the joined model that has the "
                   "say of it.")
    NOT_BETTER = ("not_better", "The organs to be learnt got worse by more than noise (`gain`, mean change of Dice).")
    NO_DIFFERENCE = ("no_difference", "The organs to be learnt changed by no more than noise (`gain` with `low` and "
                     "`high`); `already_good`: those of which the start model knew almost all.")
    BETTER = ("better", "The new model is selected: the organs to be learnt gained more than noise (`gain` with `low` "
              "and `high`) and no kept organ lost; `kept_measured`: some were measured.")


@dataclass(frozen=True)
class Verdict:
    """A kind with its organ and figures; see `VerdictKind` for which it has.

    `low`, `high`: the 95 % interval, over so many `units`, each a patient or a slab (`unit`: "patients", "slabs").
    Unless it is better the start model stays selected, or the new one where that was `asked` for.
    """

    kind: VerdictKind
    organ: str = ""
    before: float | None = None
    after: float | None = None
    more: int = 0
    gain: float | None = None
    kept_measured: bool = False
    low: float | None = None
    high: float | None = None
    units: int = 0
    unit: str = ""
    change: float | None = None
    agreement: float | None = None
    already_good: tuple[str, ...] = ()
    unmeasured: tuple[str, ...] = ()
    no_better: tuple[str, ...] = ()
    asked: bool = False

    @classmethod
    def of_drift(cls, drifted: Sequence[Drift]) -> Verdict:
        """That these organs changed, of which the first stands for all."""
        worst = drifted[0]
        return cls(VerdictKind.KEPT_ORGAN_DRIFTED, worst.organ, more=len(drifted) - 1, change=worst.change,
                   low=worst.low, high=worst.high, units=worst.cases, unit="CTs", agreement=worst.agreement)

    def with_interval(self, interval: Interval, unit: str) -> Verdict:
        """The verdict with the interval of its change."""
        return replace(self, low=interval.low, high=interval.high, units=interval.units, unit=unit)

    @property
    def takes_new(self) -> bool:
        """Whether the new model is selected."""
        return self.kind is VerdictKind.BETTER or self.asked

    def text(self) -> str:
        """One line for a person."""
        if self.kind is VerdictKind.BETTER:
            kept_organs = "was measured"
            if self.kept_measured:
                kept_organs = f"lost more than {LOSS_TOLERATED}"
            return f"no kept organ {kept_organs}; organs to be learnt: {self._gain_text()}"
        line = f"{self._finding()}; {self._selected()}"
        if self.kind is VerdictKind.NOTHING_MEASURED and not self.asked:
            line += ", judge the new one by eye"
        return line

    def _finding(self) -> str:
        organs = self.organ
        if self.more:
            organs = f"{self.organ} and {self.more} more"
        if self.kind is VerdictKind.KEPT_ORGAN_LOST:
            return f"{organs} lost more than {LOSS_TOLERATED} ({self.before:.3f} -> {self.after:.3f}{self._interval()})"
        if self.kind is VerdictKind.KEPT_ORGAN_DRIFTED:
            return f"{organs} changed without being learnt ({self._drift_text()})"
        if self.kind is VerdictKind.NONE_BETTER:
            return "none of the organs to be learnt got better"
        if self.kind is VerdictKind.NOT_BETTER:
            return f"the organs to be learnt got worse ({self._gain_text()})"
        if self.kind is VerdictKind.NO_DIFFERENCE:
            line = f"no difference found ({self._gain_text()})"
            if self.already_good:
                line += f", the start model already has {', '.join(self.already_good)}: little to learn"
            return line
        line = f"{listed(self.unmeasured, MOST_NAMES) or 'what was learnt'} could not be measured on a real CT"
        if self.no_better:
            line += f", {listed(self.no_better, MOST_NAMES)} got no better"
        return line

    def _selected(self) -> str:
        if self.asked:
            return "the new model is selected all the same, as asked"
        return "the start model stays selected"

    def _gain_text(self) -> str:
        if self.gain is None:
            return "not measured"
        return f"mean {self.gain:+.3f}{self._interval()}"

    def _interval(self) -> str:
        if self.low is None or self.high is None:
            return ""
        return f", 95 % interval {self.low:+.3f} to {self.high:+.3f} over {self.units} {self.unit}"

    def _drift_text(self) -> str:
        assert self.change is not None
        assert self.agreement is not None
        if self.agreement < LEAST_AGREEMENT:
            return f"both models agree to {self.agreement:.2f} on {self.units} CTs"
        line = f"{100 * self.change:+.0f} % of its volume on {self.units} CTs"
        if self.low is not None and self.high is not None:
            line += f", 95 % interval {100 * self.low:+.0f} to {100 * self.high:+.0f}"
        return line

    def as_data(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self) | {"kind": self.kind.value, "already_good": list(self.already_good),
                               "unmeasured": list(self.unmeasured), "no_better": list(self.no_better)}

    def problem(self) -> Problem:
        """The verdict as a warning, where the new model is not the better one."""
        finding, _, hint = self.text().partition("; ")
        return Problem(Code.NOT_BETTER, found=finding, hint=hint, severity=Severity.WARNING, data=self.as_data())
