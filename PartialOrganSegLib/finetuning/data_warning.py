"""What may be amiss with the cases of a fine-tuning, as data; the sentence is made here alone, when it is shown."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ..errors import Code, Problem, Severity
from ..formats.strokes import NOT_DRAWN
from ..text_enum import Occurrence


class DataWarningKind(Occurrence):
    """A kind of data warning; the member's value is what JSON events carry, `arises` says when it comes up."""

    NOTHING_LABELLED = ("nothing_labelled", "No voxel of the case is labelled as an organ; `organs` are those that it "
                        "teaches not to be there, if they are few.")
    SINGLE_SLICE = ("single_slice", "An organ is labelled in one slice, of `values[0]` voxels.")
    MOSTLY_DRAWN = ("mostly_drawn", "A scribble file in which most voxels (`values[0]`, a share) are drawn, most of "
                    "them as one of `organs`.")
    NO_BACKGROUND = ("no_background", "No voxel is said not to be one of `organs`, so nothing keeps them from growing.")
    ORGAN_DENIED = ("organ_denied", "The full label of a case says that there is no `organs[0]`, which the case "
                    "`other` shows.")
    START_MODEL_FINDS = ("start_model_finds", "The label says that there is none of `organs`, of which the start model "
                         "finds `values` ml; `full`: it is a full label.")
    SAME_IMAGE = ("same_image", "Two cases show the same image.")
    CONTRADICTION = ("contradiction", "Two cases of the same image contradict each other in `values[0]` voxels, most "
                     "of which are one of `organs` in the first and one of `against` in the other.")
    LEARNT_BEFORE = ("learnt_before", "The case is left out to be measured on, and the start model was trained on it "
                     "in an earlier fine-tuning.")


@dataclass(frozen=True)
class DataWarning:
    """A `case`, its `organs` ("background" may be among them; several are alternatives) and what was counted.

    `other` is the other case, and `against` what that one says, where two are compared. `full`: of a full label.
    Organs are left out where a voxel may be one of more than two: the sentence says "something else" then.
    """

    kind: DataWarningKind
    case: str
    organs: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    other: str = ""
    against: tuple[str, ...] = ()
    full: bool = False

    def text(self) -> str:
        """One line for a person."""
        return self.problem().text()

    def problem(self) -> Problem:
        """The warning as every other one, with its own fields as `data`."""
        subject, finding, hint = getattr(self, f"_{self.kind.value}")()
        return Problem(Code.DATA_WARNING, subject, found=finding, hint=hint, severity=Severity.WARNING,
                       data=asdict(self))

    def _nothing_labelled(self) -> tuple[str, str, str]:
        teaches = ""
        if self.organs:
            teaches = f", which teaches that there is no {' and no '.join(self.organs)}"
        return self.case, f"no voxel is labelled as an organ{teaches}", ""

    def _single_slice(self) -> tuple[str, str, str]:
        finding = f"{self.organs[0]} is labelled in a single slice ({self.values[0]:.0f} voxels)"
        return self.case, finding, "expect little of it"

    def _mostly_drawn(self) -> tuple[str, str, str]:
        finding = f"{self.values[0]:.0%} of the CT is drawn, most of it as {alternatives(self.organs)}"
        return self.case, finding, f"in a scribble file {NOT_DRAWN} means not drawn and 0 background"

    def _no_background(self) -> tuple[str, str, str]:
        finding = f"no voxel is drawn that is not {' or '.join(self.organs)}"
        return self.case, finding, "nothing keeps it from growing, draw some background"

    def _organ_denied(self) -> tuple[str, str, str]:
        finding = f"its full label says there is no {self.organs[0]}, which {self.other} shows"
        return self.case, finding, "if it was only not drawn, make the case partial"

    def _start_model_finds(self) -> tuple[str, str, str]:
        organs = ", ".join(f"{organ} ({ml:.0f} ml)" for organ, ml in zip(self.organs, self.values, strict=True))
        mend = "make the case partial" if self.full else "leave it out of 'annotated'"
        return (self.case, f"its label says that there is none of what the start model finds there: {organs}",
                f"where one was only not drawn, {mend}")

    def _same_image(self) -> tuple[str, str, str]:
        return "", f"{self.case} and {self.other} show the same image", "what is left out of one is left out of both"

    def _learnt_before(self) -> tuple[str, str, str]:
        return (self.case, "it is measured on, and the start model was fine-tuned on it before",
                "its Dice is no measure of patients not seen, and speaks for the start model")

    def _contradiction(self) -> tuple[str, str, str]:
        classes = f"{alternatives(self.organs)} against {alternatives(self.against)}"
        return ("", f"{self.case} and {self.other} show the same image and contradict each other in "
                f"{self.values[0]:.0f} voxels (most: {classes})", "both are learnt from")


def alternatives(organs: tuple[str, ...]) -> str:
    """What a voxel may be: "liver or spleen", "something else" where nothing is named."""
    return " or ".join(organs) or "something else"
