"""What decides a run's numbers, and whether a run that is gone on with began with the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..errors import UserError
from .recipe import Recipe

_FREE = {"losses", "loss_arguments", "arguments"}  # their keys are the user's, so one that is missing says something
_OF_NO_MATTER = {"checkpoint_every", "workers", "bundle", "batch_size"}  # the last: `batch`, over all processes, counts


def deciding_settings(recipe: Recipe, only_changed: bool = False) -> dict[str, Any]:
    """The settings that decide the numbers, as JSON has them; with `only_changed` without those at their default."""
    kept = recipe.model_dump(mode="json", exclude=_OF_NO_MATTER, exclude_defaults=only_changed)
    return json.loads(json.dumps(kept))


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], recipe: Recipe) -> None:
    """Raises UserError for a setting that is not as it was. One that did not exist then may have its default."""
    known = deciding_settings(recipe)
    told = {key: value for key, value in now.items() if key not in known}  # not the recipe's, so without a default
    comparable = _as_it_was(dict(now), dict(before), told | deciding_settings(recipe, only_changed=True))
    for key, value in comparable.items():
        if before.get(key) != value:
            raise UserError(f"--resume: {key} was {before.get(key)} and is now {now[key]}; resume with the same recipe "
                            "or start a new run")


def _as_it_was(value: Any, was: Any, changed: Any) -> Any:
    """`value` without keys that `was` lacks and nobody `changed`."""
    if isinstance(value, dict) and isinstance(was, dict):
        changed = changed if isinstance(changed, dict) else {}
        return {key: part if key in _FREE else _as_it_was(part, was.get(key), changed.get(key))
                for key, part in value.items() if key in was or key in changed}
    if isinstance(value, list) and isinstance(was, list) and len(value) == len(was):
        parts = changed if isinstance(changed, list) and len(changed) == len(value) else [None] * len(value)
        return [_as_it_was(*three) for three in zip(value, was, parts, strict=True)]
    return value
