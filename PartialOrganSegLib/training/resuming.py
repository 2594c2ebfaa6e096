"""What decides a run's numbers, and whether a run that is resumed began with the same."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping

from pydantic import ValidationError

from ..errors import Code, UserError
from .former_settings import with_current_names
from .recipe import Recipe

# `batch_size` too: what counts is `batch`, over all processes. Of manifest and start model the content counts (`cases`,
# `start_model` and others), wherever they lie: a project may be renamed, moved or mounted in another place.
_WITHOUT_EFFECT = {"checkpoint_every", "workers", "bundle", "batch_size", "hooks", "manifest", "start_from"}
# What checkpoints up to 0.4.0 do not say.
_UNKNOWN_BEFORE = ("start_model", "drawing", "measured")


def deciding_settings(recipe: Recipe) -> dict[str, object]:
    """The settings that decide the numbers, as JSON has them."""
    settings: dict[str, object] = json.loads(json.dumps(recipe.model_dump(mode="json", exclude=_WITHOUT_EFFECT)))
    return settings


def check_same(before: Mapping[str, object], current: Mapping[str, object]) -> None:
    """Compares what decides a run's numbers, the recipe's settings and others, with what a checkpoint says of it.

    A setting that did not exist when the run began had its default then. Raises UserError for one that has changed.
    """
    before = _completed(before)
    for key, value in current.items():
        if before.get(key) == value or _unknown_then(key, value, before):
            continue
        if key == "cases":
            raise UserError(code=Code.RESUME_DIFFERS, subject="--resume",
                            found=f"the files of {_differing_cases(before.get(key), value)} are not as they were when "
                                  "the run began (content or order)",
                            hint="put them back or start a new run")
        raise UserError(code=Code.RESUME_DIFFERS, subject="--resume",
                        found=f"{key} was {before.get(key)} and is now {value}",
                        hint="resume with the same recipe or start a new run")


def _unknown_then(key: str, value: object, before: Mapping[str, object]) -> bool:
    """Whether a checkpoint of an earlier version says too little to compare: of a start model only that there was one.
    """
    if key not in _UNKNOWN_BEFORE or key in before:
        return False
    return key != "start_model" or (before.get("start_from") is None) == (value is None)


def _completed(settings: Mapping[str, object]) -> dict[str, object]:
    """Settings of an earlier version as this one has them."""
    with warnings.catch_warnings():
        # Nobody can rename what a checkpoint holds.
        warnings.simplefilter("ignore", FutureWarning)
        current = with_current_names(settings)
        try:
            chosen = {key: value for key, value in current.items() if key in Recipe.model_fields}
            # Where they lay is not kept, and which paths stand here decides nothing.
            chosen.setdefault("manifest", "manifest.yaml")
            if current.get("start_model") is not None:
                chosen.setdefault("start_from", "model")
            recipe = Recipe.model_validate(chosen)
        # Of a version with other settings: compared as they are.
        except ValidationError:
            return current
    return current | deciding_settings(recipe)


def _differing_cases(before: object, current: object) -> str:
    """Names of cases from names of cached arrays, which end in a digest of what these were made from."""
    files: set[str] = set()
    for names in (before, current):
        if isinstance(names, list):
            files ^= set(names)
    return ", ".join(sorted({file.rpartition("-")[0] for file in files})) or "the cases"
