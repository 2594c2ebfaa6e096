"""A problem is data; its text is made in one place and is one line whatever the values hold."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from PartialOrganSegLib.errors import (
    Code,
    Problem,
    Severity,
    UsageError,
    UserError,
    did_you_mean,
    kind_of,
    nearest,
    one_line,
)
from PartialOrganSegLib.events import ConsoleReporter, JsonReporter
from PartialOrganSegLib.organs import WORD16

# Names of files and values come from users: line breaks, escape codes and all of Unicode.
ANY_TEXT = st.text(st.characters(), max_size=30)
PARTS = st.fixed_dictionaries({name: ANY_TEXT for name in ("subject", "expected", "found", "hint")})


@pytest.mark.parametrize(("parts", "line"), [
    ({"subject": Path("ct.nii"), "expected": "a CT", "found": "none"}, "ct.nii: expected a CT, found none"),
    ({"subject": "--x", "expected": 3, "found": 4, "hint": "add one"}, "--x: expected 3, found 4; add one"),
    ({"expected": "a voxel", "found": "none"}, "expected a voxel, found none"),
    ({"subject": "a.csv: line 3", "expected": "2 values"}, "a.csv: line 3: expected 2 values"),
    ({"subject": "a", "found": "could not be written: full"}, "a: could not be written: full"),
    ({"found": "cancelled"}, "cancelled"),
    ({"subject": "loss", "expected": "one of a, b", "found": "'c'", "hint": "did you mean 'a'?"},
     "loss: expected one of a, b, found 'c' (did you mean 'a'?)"),
])
def test_the_text_of_the_parts(parts: dict[str, object], line: str) -> None:
    error = UserError(code=Code.VALUE_UNFIT, **parts)
    assert str(error) == line
    assert {name: getattr(error, name) for name in parts} == {name: str(value) for name, value in parts.items()}
    assert error.code is Code.VALUE_UNFIT


@pytest.mark.parametrize(("line", "parts"), [
    ("ct.nii: expected a CT, found none; look", ("ct.nii", "a CT", "none", "look")),
    ("a: b: expected 3, found 4", ("a: b", "3", "4", "")),
    ("expected a voxel, found none", ("", "a voxel", "none", "")),
    ("device 'x': expected auto or cpu", ("device 'x'", "auto or cpu", "", "")),
    ("unknown organ 'x'", ("", "", "unknown organ 'x'", "")),
])
def test_a_text_made_elsewhere_is_taken_apart(line: str, parts: tuple[str, ...]) -> None:
    error = UserError(line)
    assert (error.subject, error.expected, error.found, error.hint) == parts
    assert str(error) == line
    assert error.code is Code.GENERAL


@given(ANY_TEXT)
def test_a_text_made_elsewhere_stays_as_it_is(text: str) -> None:
    assert str(UserError(text)) == one_line(text)


@given(st.lists(st.sampled_from([": expected ", "expected ", ", found ", "; ", "a", "\n", ""]), max_size=8))
def test_a_text_of_our_own_words_stays_as_it_is(words: list[str]) -> None:
    assert str(UserError("".join(words))) == one_line("".join(words))


@given(PARTS)
def test_the_text_is_one_line_whatever_the_parts_hold(parts: dict[str, str]) -> None:
    text = str(UserError(code=Code.GENERAL, **parts))
    assert len(text.splitlines()) <= 1
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in text)


def test_a_break_is_shown_as_what_it_is() -> None:
    assert str(UserError(code=Code.FILE_MISSING, subject="a\nb\x1b[2J.nii", expected="a CT", found="none")) == (
        "a\\nb\\x1b[2J.nii: expected a CT, found none")
    assert str(UserError(code=Code.FILE_MISSING, subject="Müller 腹部.nii", found="gone")) == "Müller 腹部.nii: gone"


def test_an_error_of_a_part_names_the_whole_first() -> None:
    error = UserError(code=Code.UNKNOWN_NAME, subject="organ", expected="liver", found="lung")
    assert str(error.within("cases.csv")) == "cases.csv: organ: expected liver, found lung"
    assert str(UsageError("no such option").within("--x")) == "--x: no such option"
    assert isinstance(UsageError("no such option").within("--x"), UsageError)
    assert error.within("cases.csv").code is Code.UNKNOWN_NAME


def test_an_error_comes_whole_from_another_process() -> None:
    for error in (UserError("a: expected b, found c"), UsageError(code=Code.NO_DEVICE, subject="a", found="b")):
        # Exceptions with arguments of their own are often lost on the way from a worker.
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), str(copy), copy.problem) == (type(error), str(error), error.problem)


def test_json_events_carry_the_parts() -> None:
    stream = io.StringIO()
    reporter = JsonReporter(stream)
    reporter.warning("ct.nii: expected modality CT, found MR")
    reporter.warning(Problem(Code.COARSE_VOXELS, "ct.nii", found="coarse"))
    reporter.error(UserError(code=Code.UNKNOWN_NAME, subject="--organs", expected="liver", found="'livr'\n",
                             hint=did_you_mean("livr", WORD16.names)).problem)
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert events == [
        {"event": "warning", "message": "ct.nii: expected modality CT, found MR", "code": "general",
         "subject": "ct.nii", "expected": "modality CT", "found": "MR", "hint": ""},
        {"event": "warning", "message": "ct.nii: coarse", "code": "coarse-voxels", "subject": "ct.nii",
         "expected": "", "found": "coarse", "hint": ""},
        {"event": "error", "message": "--organs: expected liver, found 'livr'\\n (did you mean 'liver'?)",
         "code": "unknown-name", "subject": "--organs", "expected": "liver", "found": "'livr'\n",
         "hint": "did you mean 'liver'?"}]


def test_a_terminal_gets_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = ConsoleReporter()
    reporter.warning(Problem(Code.COARSE_VOXELS, "ct.nii", found="coarse", severity=Severity.WARNING))
    reporter.error("a text")
    assert capsys.readouterr().err.splitlines() == ["warning: ct.nii: coarse", "error: a text"]


def test_the_nearest_name() -> None:
    assert nearest("livr", WORD16.names) == " (did you mean 'liver'?)"
    assert did_you_mean("xyzzy", WORD16.names) == nearest("xyzzy", WORD16.names) == ""


def test_codes_are_short_and_explained() -> None:
    for code in Code:
        assert code.value == code.name.lower().replace("_", "-")
        # A column of a table and a word in a log.
        assert len(code.value) <= 20
        assert code.arises.endswith(".")
        assert code.remedy.endswith(".")
        assert str(code) == f"{code}" == code.value


@pytest.mark.parametrize(("value", "words"), [
    (None, "nothing"), (False, "true or false"), (3, "a number"), (0.5, "a number"), ("x", "text"), ([], "a list"),
    ({}, "fields (key: value)")])
def test_kinds_of_values_have_words_of_their_own(value: object, words: str) -> None:
    assert kind_of(value) == words
