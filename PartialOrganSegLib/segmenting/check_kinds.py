"""What is noticed about an organ of a result, as data; the sentence is made here alone, when it is shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ..text_enum import Occurrence, TextEnum


class CheckKind(Occurrence):
    """A kind of check; the member's value is what JSON events carry, `arises` says when it comes up."""

    NOT_FOUND = ("not_found", "No voxel is this organ.")
    TOUCHES_BORDER = ("touches_border", "The organ reaches a face of the image, so part of it may lie outside.")
    VERY_SMALL = ("very_small", "Smaller than in any CT of the reference collection; `value`, `low`, `high` in ml.")
    SMALL = ("small", "Smaller than in 95 % of the reference collection; `value`, `low`, `high` in ml.")
    LARGE = ("large", "Larger than in 95 % of the reference collection; `value`, `low`, `high` in ml.")
    VERY_LARGE = ("very_large", "Larger than in any CT of the reference collection; `value`, `low`, `high` in ml.")
    SEPARATE_PARTS = ("separate_parts", "More parts (`value`) than the organ can have (`high`).")
    STRAY_COMPONENT = ("stray_component", "Parts of more than `high` ml each, `value` ml together, lie where the organ "
                       "cannot be; `detail` says where.")
    SIDE_SWAPPED = ("side_swapped", "The organ lies on the side of its twin, which `detail` names.")
    UNCERTAIN = ("uncertain", "The model is unsure of the organ's voxels: mean entropy `value` above `high` nats.")


class Place(TextEnum):
    """Where a stray component lies: the `detail` of such a check, with its words in a sentence."""

    def __init__(self, value: str, words: str) -> None:
        self.words = words

    OUTSIDE_BODY = ("outside_body", "outside the body")
    IN_LUNG = ("in_lung", "in the lung")
    ABOVE_DIAPHRAGM = ("above_diaphragm", "above the diaphragm")
    ABOVE_PELVIS = ("above_pelvis", "above the pelvis")
    BELOW_ABDOMEN = ("below_abdomen", "below the abdomen")
    BELOW_PELVIS = ("below_pelvis", "below the pelvis")


@dataclass(frozen=True)
class OrganCheck:
    """Something a person should look at. `value` was measured, `low` to `high` is usual; None where there is none.

    `detail` is a `Place` for a stray component, and the twin's name for a swapped side.
    """

    kind: CheckKind
    organ: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    detail: str = ""

    def text(self) -> str:
        """A short sentence in English: `very large: 300 ml, usual 100-200 ml`."""
        value, low, high = self.value or 0.0, self.low or 0.0, self.high or 0.0
        if self.kind in VOLUMES:
            return f"{self.kind.value.replace('_', ' ')}: {value:.0f} ml, usual {low:.0f}-{high:.0f} ml"
        if self.kind is CheckKind.SEPARATE_PARTS:
            return f"{value:.0f} separate parts"
        if self.kind is CheckKind.STRAY_COMPONENT:
            return f"stray component of {value:.1f} ml {_WORDS_OF_PLACE[self.detail]}"
        if self.kind is CheckKind.SIDE_SWAPPED:
            return f"left and right look swapped with the {self.detail.replace('_', ' ')}"
        if self.kind is CheckKind.UNCERTAIN:
            return f"uncertain (entropy {value:.2f} nats)"
        return _PLAIN[self.kind]

    def as_event(self) -> dict[str, Any]:
        """What a JSON event carries: the fields beside their `text`."""
        return {**asdict(self), "text": self.text()}


VOLUMES = (CheckKind.VERY_SMALL, CheckKind.SMALL, CheckKind.LARGE, CheckKind.VERY_LARGE)
_WORDS_OF_PLACE = {place.value: place.words for place in Place}
# Checks whose sentence needs no figures.
_PLAIN = {CheckKind.NOT_FOUND: "not found",
          CheckKind.TOUCHES_BORDER: "touches the image border: may be cut off"}


def checks_text(checks: Iterable[OrganCheck]) -> str:
    """All checks of an organ in one line, as tables have them."""
    return "; ".join(check.text() for check in checks)
