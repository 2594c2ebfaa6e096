"""The files of a run folder, and whether a run may write there."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

import yaml
from safetensors import SafetensorError

from ..atomic import whole_file
from ..errors import Code, UserError
from .checkpoint import LAST_FILE
from .recipe import MODEL_FOLDER, RECIPE_FILE, Recipe

OVERLAPS_FILE = "overlaps.json"  # of validation
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def room_on_disk(folder: Path, resumable: Path) -> Iterator[None]:
    """Turns a full disk, at whatever moment, into one line that names the file and says how to go on.

    `resumable`: the file from which the run in `folder` can be resumed, once there is one.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        if isinstance(error, OSError) and error.errno not in FULL:
            raise
        subject = getattr(error, "filename", None) or folder
        reason = getattr(error, "strerror", None) or error
        hint = "make room and start again, there is nothing yet to resume from"
        if resumable.exists():
            hint = f"make room and go on with --resume from {resumable}"
        raise UserError(code=Code.NOT_WRITABLE, subject=subject, expected="room for the run's files",
                        found=f"none ({reason})", hint=hint) from error


class RunFiles:
    """The paths of a run in `folder`: `last` and `best` are checkpoints, `model` is the bundle's folder, `overlaps`
    says what its figures are made of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last = folder / "checkpoints" / LAST_FILE
        self.best = folder / "checkpoints" / "best.pt"
        self.model = folder / MODEL_FOLDER
        self.overlaps = folder / OVERLAPS_FILE

    def check(self, resume: bool) -> None:
        """Raises UserError where a new run would write over another, and where there is none to resume."""
        if resume:
            if not self.last.exists():
                raise UserError(code=Code.NO_CHECKPOINT, subject=self.last, expected="a checkpoint to resume from",
                                found="none")
            return
        if self.last.exists():
            raise UserError(code=Code.FILE_EXISTS, subject=self.folder, expected="a new run folder",
                            found="checkpoints", hint="add --resume or another -o")
        if self.model.exists():
            raise UserError(code=Code.FILE_EXISTS, subject=self.folder, expected="a new run folder",
                            found=f"{MODEL_FOLDER} in it, which the run would replace", hint="choose another -o")

    def write_recipe(self, recipe: Recipe) -> None:
        """The recipe as the run uses it, with all defaults."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with whole_file(self.folder / RECIPE_FILE) as temporary:
            temporary.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
