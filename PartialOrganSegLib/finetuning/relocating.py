"""A fine-tuning run that goes on elsewhere than where it began: its project was renamed, moved or copied."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from ..atomic import whole_file
from ..json_file import read_json
from ..real_paths import real_path
from ..training.recipe import RECIPE_FILE, load_recipe
from ..yaml_file import read_yaml
from .plan import PLAN_FILE, write_json
from .run_folder import MANIFEST_FILE


def relocate(run: Path) -> None:
    """Makes the files of a run name what they mean where the run lies today; nothing where it lies as it did.

    What lies in the run folder moved with it. Anything else is looked for where it was, then where it would be had it
    moved along. Whether it is the same is for the caller to check. Raises UserError for a file that cannot be read.
    """
    began_in = load_recipe(run / RECIPE_FILE).manifest.parent
    if began_in.exists() and began_in.samefile(run):
        return
    move = _Move(began_in, real_path(run))
    # The recipe last: it says where the run began until all the others are rewritten.
    plan = move.applied(read_json(run / PLAN_FILE, "the plan of a run"))
    assert isinstance(plan, dict), "read_plan has read it"
    write_json(run / PLAN_FILE, plan)
    for name in (MANIFEST_FILE, RECIPE_FILE):
        content = move.applied(read_yaml(run / name, "file of the run"))
        with whole_file(run / name) as temporary:
            temporary.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


class _Move:
    """Of a run folder, from where it was to where it is."""

    def __init__(self, former: Path, current: Path) -> None:
        self._former, self._current = former, current

    def applied(self, value: object) -> object:
        """The same JSON or YAML value, with every absolute path in it, keys as well, as it is after the move."""
        if isinstance(value, dict):
            return {self.applied(key): self.applied(content) for key, content in value.items()}
        if isinstance(value, list):
            return [self.applied(content) for content in value]
        if isinstance(value, str) and Path(value).is_absolute():
            return str(self._path(Path(value)))
        return value

    def _path(self, path: Path) -> Path:
        if path.is_relative_to(self._former):
            return self._current / path.relative_to(self._former)
        if path.exists():
            return path
        try:
            along = Path(os.path.normpath(self._current / os.path.relpath(path, self._former)))
        except ValueError:  # on another drive than the run
            return path
        return along if along.exists() else path
