"""What is wrong with a file of strokes, as a problem in words that need no knowledge of the program."""

from __future__ import annotations

from itertools import takewhile

from pydantic import BaseModel, ValidationError

from ..errors import Code, Problem, brief, did_you_mean, kind_of

_LENGTHS = ("too_long", "too_short")


def first_problem(error: ValidationError, file: type[BaseModel], stroke: type[BaseModel]) -> Problem:
    """The first thing that is wrong. `file` and `stroke`: the models of the whole and of a stroke, whose fields'
    descriptions say what was expected."""
    first = error.errors()[0]
    # Of a field that may be one of several things, pydantic adds which of them it tried.
    location = list(takewhile(lambda part: not str(part).startswith("literal["), first["loc"]))
    place = ".".join(map(str, location))
    of_stroke = location[:1] == ["strokes"] and len(location) > 1
    fields = (stroke if of_stroke else file).model_fields
    names = [part for part in location[2 * of_stroke:] if isinstance(part, str)]
    if not names:
        return Problem(Code.WRONG_FORMAT, place, "fields (key: value)", kind_of(first["input"]))
    if first["type"] == "extra_forbidden":
        hint = did_you_mean(names[0], fields) or f"known: {', '.join(fields)}"
        return Problem(Code.UNKNOWN_NAME, place, found="unknown field", hint=hint)
    found = "nothing" if first["input"] is None else brief(first["input"])
    if first["type"] == "missing" and location[-1] == names[0]:
        found = "none"
    elif first["type"] in _LENGTHS and location[-1] == names[0]:
        found = str(first["ctx"]["actual_length"])
    return Problem(Code.WRONG_FORMAT, place, str(fields[names[0]].description), found)
