"""From a folder of CTs and what was drawn on some of them to a checked model and one page: `partialorganseg learn`."""

from __future__ import annotations

from enum import Enum

from ..errors import Code, UsageError, did_you_mean


class Beside(Enum):
    """When the start model stays whole and a copy of its network learns beside it: where an organ is new to it, always
    or never."""

    NEW = "new"
    ALWAYS = "always"
    NEVER = "never"


def when_beside(name: str) -> Beside:
    """The choice of this name. Raises UsageError for an unknown one, with the nearest."""
    names = [choice.value for choice in Beside]
    if name not in names:
        raise UsageError(code=Code.UNKNOWN_NAME, subject="beside", expected=" or ".join(names), found=f"'{name}'",
                         hint=did_you_mean(name, names))
    return Beside(name)
