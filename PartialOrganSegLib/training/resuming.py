"""What decides a run's numbers, and whether a run that is gone on with began with the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ..errors import Code, UserError
from .recipe import Recipe

_OF_NO_MATTER = {"checkpoint_every", "workers", "bundle", "batch_size"}  # the last: `batch`, over all processes, counts


def deciding_settings(recipe: Recipe) -> dict[str, Any]:
    """The settings that decide the numbers, as JSON has them."""
    return json.loads(json.dumps(recipe.model_dump(mode="json", exclude=_OF_NO_MATTER)))


def check_same(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Compares what decides a run's numbers, the recipe's settings and others, with what a checkpoint says of it.

    A setting that did not exist then had its default. Raises UserError for one that is not as it was.
    """
    try:
        recipe = Recipe.model_validate({key: value for key, value in before.items() if key in Recipe.model_fields})
        then = {**before, **deciding_settings(recipe)}
    except ValidationError:  # of a version whose settings were others
        then = dict(before)
    for key, value in now.items():
        if then.get(key) == value:
            continue
        if key == "cases":  # names of cached arrays, which end in a digest of what these were made from
            names = sorted({file.rpartition("-")[0] for file in {*then.get(key, [])} ^ {*value}})
            raise UserError(code=Code.RESUME_DIFFERS, subject="--resume",
                            found=f"the files of {', '.join(names) or 'the cases'} are not as they were when the run "
                                  "began (size, time, place or order)", hint="put them back or start a new run")
        raise UserError(code=Code.RESUME_DIFFERS, subject="--resume",
                        found=f"{key} was {then.get(key)} and is now {value}",
                        hint="resume with the same recipe or start a new run")
