"""Problems a user can act on, as data. Their text is made here alone, when it is shown: one line, nothing else."""

from __future__ import annotations

import difflib
import reprlib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from .problem_codes import Code

__all__ = ["Code", "Problem", "Severity", "UsageError", "UserError", "brief", "did_you_mean", "kind_of", "nearest",
           "one_line"]

# The words of a problem's text that `Problem.parsed` looks for.
_EXPECTED, _FOUND = "expected ", ", found "
# Shows the beginning of a long or deep value, and never takes long about it.
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 120
_BRIEF.maxlong = 40
_BRIEF.maxlevel = 3
# Boolean first, which Python takes for a number.
_KINDS: dict[type | tuple[type, ...], str] = {
    type(None): "nothing", bool: "true or false", (int, float): "a number", str: "text", dict: "fields (key: value)",
    (list, tuple): "a list"}
# Unicode's categories of control characters and of line and paragraph separators.
# Also bytes of names that are no text, and marks that cannot be seen or turn the direction of writing.
_BREAKING = {"Cc", "Zl", "Zp", "Cs", "Cf"}
_JOINERS = "\u200c\u200d"  # by which some scripts write their words


class Severity(str, Enum):
    """Whether a problem stops the work."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Problem:
    """What is wrong, in parts that a program can read; `text()` is the line for a person.

    `code` is its kind. `subject` names the file or setting, and where in it, as "cases.csv: line 3". `expected` and
    `found` are phrases that go on after these words; without `expected`, `found` is what is the matter in a whole
    phrase. `hint` is what could be done; a question ("did you mean 'liver'?") is shown in brackets. `data` holds the
    fields of a kind that has more of them, ready for JSON.
    """

    code: Code
    subject: str = ""
    expected: str = ""
    found: str = ""
    hint: str = ""
    severity: Severity = Severity.ERROR
    data: Mapping[str, object] = field(default_factory=dict, hash=False)

    def text(self) -> str:
        """`subject: expected X, found Y; hint`, always in one line: what would break it is escaped."""
        if self.expected and self.found:
            statement = f"{_EXPECTED}{self.expected}{_FOUND}{self.found}"
        elif self.expected:
            statement = _EXPECTED + self.expected
        else:
            statement = self.found
        line = ": ".join(part for part in (self.subject, statement) if part)
        # A question about a name belongs to the name, what could be done is a clause of its own.
        if self.hint.startswith("did you mean"):
            line += f" ({self.hint})"
        elif self.hint:
            line += f"; {self.hint}"
        return one_line(line)

    def __str__(self) -> str:
        return self.text()

    def as_event(self) -> dict[str, object]:
        """What a JSON event carries: the parts beside their text as `message`, and `data` if there is any.

        The event's name is the severity.
        """
        event: dict[str, object] = {
            "message": self.text(), "code": self.code.value, "subject": self.subject, "expected": self.expected,
            "found": self.found, "hint": self.hint}
        if self.data:
            event["data"] = dict(self.data)
        return event

    def within(self, subject: object) -> Problem:
        """The same problem of something that is part of `subject`, which comes first in the text."""
        path = f"{subject}: {self.subject}" if self.subject else str(subject)
        return replace(self, subject=path)

    def with_text(self, text: str, replacement: str) -> Problem:
        """The same problem with `replacement` for `text` in all its parts: the name of a hidden folder, for one."""
        return replace(self, subject=self.subject.replace(text, replacement),
                       expected=self.expected.replace(text, replacement), found=self.found.replace(text, replacement),
                       hint=self.hint.replace(text, replacement))

    @classmethod
    def parsed(cls, text: str, code: Code = Code.GENERAL, severity: Severity = Severity.ERROR) -> Problem:
        """The problem of a text that was put together elsewhere; its `text()` is the same line.

        A text of another form than ours is all `found`.
        """
        subject, separator, statement = text.partition(f": {_EXPECTED}")
        if text.startswith(_EXPECTED):
            subject, separator, statement = "", _EXPECTED, text[len(_EXPECTED):]
        expected, _, remainder = statement.partition(_FOUND)
        found, _, hint = remainder.partition("; ")
        problem = cls(code, subject, expected, found, hint, severity)
        # Where taking apart and putting together do not give the same line, the text is not one of ours.
        if not separator or problem.text() != one_line(text):
            return cls(code, found=text, severity=severity)
        return problem


class UserError(Exception):
    """Bad input or settings: names the file or setting, what was expected and what was found. Exit code 1.

    Made from the parts of a `Problem`, or from a problem or its complete text. `str(error)` is the problem's line. The
    parts may be any objects; their `str` counts.
    """

    CODE = Code.GENERAL

    def __init__(self, problem: str | Problem = "", *, code: Code | None = None, subject: object = "",
                 expected: object = "", found: object = "", hint: object = "") -> None:
        if isinstance(problem, Problem):
            self.problem = problem
        elif problem:
            self.problem = Problem.parsed(str(problem), code or self.CODE)
        else:
            self.problem = Problem(code or self.CODE, str(subject), str(expected), str(found), str(hint))
        super().__init__(self.problem)  # the only argument, so that a copy from another process is complete

    def __str__(self) -> str:
        return self.problem.text()

    @property
    def code(self) -> Code:
        """The kind of problem."""
        return self.problem.code

    @property
    def subject(self) -> str:
        """The file or setting, and where in it."""
        return self.problem.subject

    @property
    def expected(self) -> str:
        """What should have been there."""
        return self.problem.expected

    @property
    def found(self) -> str:
        """What was there."""
        return self.problem.found

    @property
    def hint(self) -> str:
        """What could be done."""
        return self.problem.hint

    def within(self, subject: object) -> UserError:
        """The same error of something that is part of `subject`: `raise error.within(path) from None`."""
        return type(self)(self.problem.within(subject))


class UsageError(UserError):
    """The command was called wrongly. Exit code 2."""

    CODE = Code.WRONG_USAGE


def nearest(name: str, allowed: Iterable[str]) -> str:
    """`" (did you mean 'liver'?)"` for a misspelt name, or an empty string when nothing is close."""
    question = did_you_mean(name, allowed)
    return f" ({question})" if question else ""


def did_you_mean(name: object, allowed: Iterable[str]) -> str:
    """`"did you mean 'liver'?"` for a misspelt name, or an empty string when nothing is close: a problem's hint."""
    spellings = {str(option).lower(): option for option in allowed}
    matches = difflib.get_close_matches(str(name).lower(), list(spellings), n=1, cutoff=0.5)
    return f"did you mean '{spellings[matches[0]]}'?" if matches else ""


def brief(value: object) -> str:
    """A value as Python writes it, in at most some hundred letters, whatever it holds."""
    return _BRIEF.repr(value)


def kind_of(value: object) -> str:
    """What a value of a YAML or JSON file is, in words: "a list", "text", "nothing"."""
    for types, words in _KINDS.items():
        if isinstance(value, types):
            return words
    return type(value).__name__


def one_line(text: str) -> str:
    """The text with line breaks and control characters as escapes (`\\n`), whatever a file's name holds."""
    if text.isprintable():
        return text
    return "".join(_escaped(letter) if _is_unfit(letter) else letter for letter in text)


def _is_unfit(letter: str) -> bool:
    return unicodedata.category(letter) in _BREAKING and letter not in _JOINERS


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
