"""JSON files from elsewhere, read with one clear line when they cannot be. Needs nothing beside Python."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from .bounded_file import read_at_most
from .errors import Code, UserError

LARGEST_FILE = 256 << 20  # bytes; strokes of a whole data set take a hundredth of that


def read_json(path: Path, noun: str, code: Code = Code.WRONG_FORMAT) -> object:
    """The file's content, with a byte order mark or without.

    Raises FileNotFoundError, which means something else to every caller, and UserError with `code` that names the file
    and, as `noun`, what was expected there: for what is no JSON, for numbers and brackets that no program writes, and
    for a key that occurs twice in one object.
    """
    try:
        text = read_at_most(path, LARGEST_FILE, noun).decode("utf-8-sig")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(code=code, subject=path, expected=noun, found=error.strerror or error) from None
    except UnicodeDecodeError as error:
        raise UserError(code=code, subject=path, expected=noun,
                        found=f"bytes that are no UTF-8 (at {error.start})") from None
    except ValueError as error:  # a name with a NUL
        raise UserError(code=code, subject=path, expected=noun, found=error) from None
    return parse_json(text, str(path), noun, code)


def parse_json(text: str, subject: str, noun: str, code: Code = Code.WRONG_FORMAT) -> object:
    """The content of a text, which messages call `subject`. Raises UserError as `read_json` does."""
    if not text.strip():  # Python's own words are of a missing value on line 1
        raise UserError(code=code, subject=subject, expected=noun, found="nothing")
    try:
        content: object = json.loads(text, parse_constant=_no_number, object_pairs_hook=_without_repetition)
    except RecursionError:
        raise UserError(code=code, subject=subject, expected=noun, found="brackets nested too deep") from None
    except ValueError as error:  # JSONDecodeError, and whole numbers of thousands of digits
        reason = str(error)
        # Python's own words advise to call a function of the interpreter, which no user can do.
        if not isinstance(error, json.JSONDecodeError) and "max_str_digits" in reason:
            reason = "a number of thousands of digits"
        raise UserError(code=code, subject=subject, expected=noun, found=reason) from None
    return content


def _no_number(name: str) -> object:
    raise ValueError(f"{name}, which is no number in JSON")


def _without_repetition(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object's fields. Raises ValueError for a key that occurs twice: of the two values the first would be lost."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        repeated, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key '{repeated[:60]}' twice")
    return fields
