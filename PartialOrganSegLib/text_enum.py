"""Enumerations whose members are short names in JSON and files, each with texts that explain it."""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

E = TypeVar("E", bound="TextEnum")


class TextEnum(str, Enum):
    """A name that never changes, and is what JSON carries, with further texts that may change.

    A subclass takes the texts in its `__init__`:

    >>> class Fruit(TextEnum):
    ...     def __init__(self, value: str, colour: str) -> None:
    ...         self.colour = colour
    ...     BANANA = ("banana", "yellow")
    >>> Fruit("banana").colour, str(Fruit.BANANA), Fruit.BANANA == "banana"
    ('yellow', 'banana', True)
    """

    def __new__(cls: type[E], value: str, *texts: str) -> E:
        # Without this the value would be the tuple of name and texts.
        member = str.__new__(cls, value)
        member._value_ = value
        return member

    def __str__(self) -> str:
        return str(self.value)


class Occurrence(TextEnum):
    """Something that can come up, such as a check or a warning; `arises` says when it does."""

    def __init__(self, value: str, arises: str) -> None:
        self.arises = arises
