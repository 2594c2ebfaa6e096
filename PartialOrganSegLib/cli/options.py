"""Options that several commands have."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..errors import Code, UsageError
from ..segmenting.options import check_device, check_organ_names, in_label_order

if TYPE_CHECKING:
    from ..organs import LabelSpace

JSON_EVENTS = "--json-events"
ALL = "all"  # organs: none is left out


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """Adds --device, for a command that runs networks."""
    parser.add_argument("--device", type=_device, default="auto", metavar="auto|cpu|cuda[:N]|mps",
                        help="where the networks run (default: auto)")


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Adds what every command has: --json-events."""
    parser.add_argument(JSON_EVENTS, action="store_true",
                        help="print events as JSON on stdout, one object a line, and nothing else")


def positive(unit: str, below: float = 1e5) -> Callable[[str], float]:
    """The type of an option that takes a number of `unit` above 0, such as "millimetres"."""
    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < below:
            raise argparse.ArgumentTypeError(f"expected a number of {unit} above 0 and below {below:g}, found '{text}'")
        return value

    return number


def whole_number(text: str) -> int:
    """The type of an option that takes a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, found '{text}'")
    return int(text)


def seed_number(text: str) -> int:
    """The type of an option that starts random numbers: a whole number of 0 or more."""
    if not (text.isascii() and text.isdecimal()) or len(text) > 18:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 on, found '{text}'")
    return int(text)


def name_list(text: str) -> list[str]:
    """The type of an option that takes names with commas between."""
    listed = [name.strip() for name in text.split(",") if name.strip()]
    if not listed:
        raise argparse.ArgumentTypeError(f"expected names separated by commas, found '{text}'")
    return listed


def organs_or_all(text: str) -> list[str]:
    """The type of an option that takes organs with commas between, or `all` in their place."""
    listed = name_list(text)
    if len(listed) > 1 and ALL in listed:
        raise argparse.ArgumentTypeError(f"expected organs or {ALL}, found both ('{text}')")
    return listed


def refuse_empty_words(words: Sequence[str]) -> None:
    """Raises UsageError for a word of the command line that is empty, as an unset variable of a script is.

    As a path it would be the folder at hand, as a list everything: nobody means that by it.
    """
    for number, word in enumerate(words):
        option, equals, value = word.partition("=")
        if not word.strip():
            option = words[number - 1] if number and words[number - 1].startswith("-") else f"word {number + 1}"
        elif not (option.startswith("--") and equals and not value.strip()):
            continue
        raise UsageError(code=Code.VALUE_UNFIT, subject=option, expected="a value", found="an empty one",
                         hint="is a variable of your script unset?")


def _device(text: str) -> str:
    # Checked here as well as in the options, so that every command refuses a wrong one in the same way.
    try:
        return check_device(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("device: ")) from None


def chosen_organs(text: str | None, label_space: LabelSpace) -> list[str] | None:
    """Names from `--organs`, in label order; None for all. Raises UserError for an unknown one, with the nearest."""
    names = check_organ_names(text)
    if names is None:
        return None
    return in_label_order(names, label_space)
