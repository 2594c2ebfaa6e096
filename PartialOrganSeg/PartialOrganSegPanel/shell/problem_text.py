"""What the library's command says went wrong, in the user's language around the command's own words."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from slicer.i18n import tr as _

from PartialOrganSegLib.errors import Code, Problem, one_line

from .data_warning_text import data_warning_text


def problem_of(event: Mapping[str, Any]) -> Problem:
    """The problem of a `warning` or `error` event. An event without parts is its message alone."""
    code = Code.GENERAL
    with contextlib.suppress(ValueError):  # a kind that a newer library has
        code = Code(event.get("code", ""))
    if "found" not in event:
        return Problem(code, found=event["message"])
    return Problem(code, event["subject"], event["expected"], event["found"], event["hint"], data=event.get("data", {}))


def problem_text(problem: Problem) -> str:
    """The problem in one line."""
    if problem.code is Code.DATA_WARNING and (text := data_warning_text(problem.data)):
        return one_line(text)
    line = problem.found
    if problem.expected and problem.found:
        line = _("expected {expected}, found {found}").format(expected=problem.expected, found=problem.found)
    elif problem.expected:
        line = _("expected {expected}").format(expected=problem.expected)
    line = ": ".join(part for part in (problem.subject, line) if part)
    # a name that may be meant belongs to what was found; other hints are advice
    if problem.hint.startswith("did you mean"):
        line = f"{line} ({problem.hint})"
    elif problem.hint and "--" not in problem.hint:  # an option of the command is no advice to who has buttons
        line = f"{line}; {problem.hint}"
    return one_line(line)


def without_hint(problem: Problem) -> str:
    """The problem in one line, without what the command advises: where a question offers just that."""
    return problem_text(replace(problem, hint=""))
