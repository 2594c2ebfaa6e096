"""Why a run's model is, or is not, the one to go on with, as data; the sentence is made when it is shown."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ..errors import Code, Problem, Severity
from ..text_enum import Occurrence

# Of a kept organ's Dice.
LOSS_TOLERATED = 0.02


class VerdictKind(Occurrence):
    """The member's value is what JSON carries; `arises` says when it comes up."""

    KEPT_ORGAN_LOST = ("kept_organ_lost", "`organ` lost more than is tolerated (`before`, `after`: Dice), and `more` "
                       "other organs did. The start model stays selected.")
    NOTHING_MEASURED = ("nothing_measured", "No organ could be measured. The start model stays selected.")
    NONE_BETTER = ("none_better", "No organ to be learnt got better than the member of the joined model that has the "
                   "say of it. The start model stays selected.")
    NOT_BETTER = ("not_better", "The organs to be learnt have no better Dice (`gain`, mean change). The start model "
                  "stays selected.")
    BETTER = ("better", "The new model is selected: the organs to be learnt gained (`gain`, none where not measured) "
              "and no kept organ lost; `kept_measured`: some were measured.")


@dataclass(frozen=True)
class Verdict:
    """A kind with its organ and figures; see `VerdictKind` for which it has."""

    kind: VerdictKind
    organ: str = ""
    before: float | None = None
    after: float | None = None
    more: int = 0
    gain: float | None = None
    kept_measured: bool = False

    def text(self) -> str:
        """One line for a person."""
        stays = "the start model stays selected"
        if self.kind is VerdictKind.KEPT_ORGAN_LOST:
            organs = self.organ
            if self.more:
                organs = f"{self.organ} and {self.more} more"
            return f"{organs} lost more than {LOSS_TOLERATED} ({self.before:.3f} -> {self.after:.3f}); {stays}"
        if self.kind is VerdictKind.NOTHING_MEASURED:
            return f"nothing was left to measure on; {stays}, judge the new one by eye"
        if self.kind is VerdictKind.NONE_BETTER:
            return f"none of the organs to be learnt got better; {stays}"
        if self.kind is VerdictKind.NOT_BETTER:
            return f"the organs to be learnt are not better (mean {self.gain:+.3f}); {stays}"
        gain = "not measured" if self.gain is None else f"mean {self.gain:+.3f}"
        kept_organs = f"lost more than {LOSS_TOLERATED}" if self.kept_measured else "was measured"
        return f"no kept organ {kept_organs}; organs to be learnt: {gain}"

    def as_data(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self) | {"kind": self.kind.value}

    def problem(self) -> Problem:
        """The verdict as a warning, where the start model stays selected."""
        finding, _, hint = self.text().partition("; ")
        return Problem(Code.NOT_BETTER, found=finding, hint=hint, severity=Severity.WARNING, data=self.as_data())
