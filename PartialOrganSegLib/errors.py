"""Errors a user can act on. The command line prints their text as one line and nothing else."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input or settings: names the file or setting, what was expected and what was found. Exit code 1."""


class UsageError(UserError):
    """The command was called wrongly. Exit code 2."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """`" (did you mean 'liver'?)"` for a misspelt name, or an empty string when nothing is close."""
    spellings = {str(option).lower(): option for option in allowed}
    matches = difflib.get_close_matches(str(name).lower(), list(spellings), n=1, cutoff=0.5)
    return f" (did you mean '{spellings[matches[0]]}'?)" if matches else ""
