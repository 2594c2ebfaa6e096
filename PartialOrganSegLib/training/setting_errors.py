"""What is wrong with a setting, in one line: its key, what is allowed, what was found and the nearest name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from ..errors import Code, Problem, brief, did_you_mean, nearest


def first_problem(error: ValidationError, model: type[BaseModel]) -> Problem:
    """The first thing that is wrong with the settings of `model`."""
    first = error.errors()[0]
    location = first["loc"]
    key = ".".join(map(str, location))
    if first["type"] == "extra_forbidden":
        keys = list(_group(model, location[:-1]).model_fields)
        return Problem(Code.UNKNOWN_NAME, key, found=f"unknown setting{nearest(str(location[-1]), keys)}",
                       hint=f"known: {', '.join(keys)}")
    if first["type"] == "value_error":
        return Problem(Code.VALUE_UNFIT, key, found=str(first["ctx"]["error"]))
    if first["type"] in ("literal_error", "enum"):
        allowed = first["ctx"]["expected"]
        return Problem(Code.UNKNOWN_NAME, key, allowed, brief(first["input"]),
                       did_you_mean(first["input"], re.findall(r"'([^']+)'", allowed)))
    return Problem(Code.VALUE_UNFIT, key, found=f"{first['msg']}, found {brief(first['input'])}")


def _group(model: type[BaseModel], location: Sequence[str | int]) -> type[BaseModel]:
    """The group of settings at a location of `model`: in a list, or one that may be null."""
    annotation: Any = model
    for part in location:
        if isinstance(part, str):
            annotation = annotation.model_fields[part].annotation
        annotation = next((option for option in get_args(annotation) if option is not type(None)), annotation)
    group: type[BaseModel] = annotation
    return group
