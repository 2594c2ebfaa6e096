"""On what the Dice of an organ is measured: how far a figure can be trusted."""

from __future__ import annotations

from enum import Enum


class MeasuredOn(str, Enum):
    """The member's value is what JSON carries; `short` is for a table, `text` says what to beware of."""

    short: str
    caution: str

    def __new__(cls, value: str, short: str, caution: str = "") -> MeasuredOn:
        member = str.__new__(cls, value)
        member._value_ = value
        member.short, member.caution = short, caution
        return member

    def __str__(self) -> str:
        return self.text

    @property
    def text(self) -> str:
        """`phantoms (synthetic, so a loss on real CTs may not show)`."""
        return f"{self.short} ({self.caution})" if self.caution else self.short

    @classmethod
    def of(cls, value: object) -> object:
        """The member of a text that plans of version 0.3 have; anything else as it is."""
        for member in cls:
            if value in (member.value, member.text):
                return member
        return value

    CASES = ("cases", "left-out cases")
    SLABS = ("slabs", "left-out slabs of the training cases", "the same patients, so optimistic")
    PHANTOMS = ("phantoms", "phantoms", "synthetic, so a loss on real CTs may not show")
    REPLAY = ("replay", "a left-out part of the replay set")
