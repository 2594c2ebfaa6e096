"""Where models lie: the shipped ones in resources/models, the user's own in a per-user folder."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path

from ..errors import Code, UserError, nearest
from ..real_paths import home_folder
from ..resources import moved, resource
from ..scratch import clear_abandoned

INSTALLING = ".install-"  # how the names of folders begin in which models are put together
METADATA_FILE = Path("configs") / "metadata.json"
NNUNET_HINT = "the results folder of an nnU-Net is made a model by: partialorganseg models import nnunet FOLDER"
# A model's name is a folder's, on every system.
LONGEST_NAME = 64
NAME_PATTERN = rf"^[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST_NAME - 1}}}$"


def user_models() -> Path:
    """The user's model folder: environment variable PARTIALORGANSEG_MODELS, else the system's place for such data.

    Raises UserError where there is neither, since the user has no home folder.
    """
    chosen = os.environ.get("PARTIALORGANSEG_MODELS")
    if chosen:
        return Path(chosen)
    stated, in_home = os.environ.get("XDG_DATA_HOME"), Path(".local", "share")
    if sys.platform == "win32":
        stated, in_home = os.environ.get("LOCALAPPDATA"), Path("AppData", "Local")
    elif sys.platform == "darwin":
        stated, in_home = None, Path("Library", "Application Support")
    if stated:
        return Path(stated) / "partialorganseg" / "models"
    home = home_folder()
    if home is None:
        raise UserError(code=Code.SETTING_MISSING, subject="PARTIALORGANSEG_MODELS", found="none",
                        expected="a folder for your models in this environment variable, since you have no home folder")
    return home / in_home / "partialorganseg" / "models"


# What a run of training or fine-tuning has in its folder: the model at its end, and what shows that it began.
_RUNS_MODEL, _CHECKPOINTS, _PLAN = "model", "checkpoints", "plan.json"


def model_folders() -> dict[str, Path]:
    """Name to folder of every model found; a shipped name is never hidden by the user's.

    A model that a killed process was about to replace is put back before.
    """
    models: dict[str, Path] = {}
    # Shipped models first: no model of another's may pass for one of them.
    roots = [resource("models")]
    # Who has no folder for models still has the shipped ones.
    with contextlib.suppress(UserError):
        roots.append(user_models())
        clear_abandoned(roots[-1], INSTALLING)
    for root in roots:
        if root.is_dir():
            for folder in sorted(root.iterdir()):
                if (folder / METADATA_FILE).is_file() and not folder.name.startswith("."):
                    models.setdefault(folder.name, folder)
    return models


def free_folder(name: str, replace: bool) -> Path:
    """Where a model `name` is installed. Raises UserError for a name that no model can have, and for one that is taken,
    unless by a model to `replace`."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise UserError(code=Code.NAME_UNFIT, subject="model name", found=f"'{name}'",
                        expected=f"at most {LONGEST_NAME} of a-z, A-Z, 0-9, '.', '_' and '-', a letter or digit first",
                        hint="choose another one with --name")
    target = user_models() / name
    if (resource("models") / name).exists():
        raise UserError(code=Code.NAME_TAKEN, subject=f"model name '{name}'",
                        expected="another name than a shipped model's", hint="choose one with --name")
    # Even when asked to, no folder is replaced that is not a model: it may be a user's own.
    if target.exists() and not (replace and (target / METADATA_FILE).is_file()):
        raise UserError(code=Code.MODEL_INSTALLED, found=f"model '{name}' is already installed in {target}",
                        hint="ask to replace it, or choose another name")
    return target


def find_folder(name_or_path: str | Path) -> Path:
    """The folder of an installed model or of a bundle given as a path. Raises UserError with the nearest name."""
    folders = model_folders()
    if str(name_or_path) in folders:
        return folders[str(name_or_path)]
    path = moved(Path(name_or_path))
    if (path / METADATA_FILE).is_file():
        return path
    if (path / _RUNS_MODEL / METADATA_FILE).is_file():
        raise UserError(code=Code.BUNDLE_BROKEN, subject=path, expected="a model bundle's folder",
                        found="the run that made one", hint=f"it is {path / _RUNS_MODEL}")
    if (path / _CHECKPOINTS).is_dir() or (path / _PLAN).is_file():
        raise UserError(code=Code.BUNDLE_BROKEN, subject=path, expected="a model bundle's folder",
                        found="a run that is not finished", hint="go on with it by --resume; it makes the model at its "
                        "end")
    if path.is_file():
        raise UserError(code=Code.BUNDLE_BROKEN, subject=path, expected="a model bundle's folder", found="a file",
                        hint="a zip of a model is installed by: partialorganseg models install FILE")
    if path.exists():
        raise UserError(code=Code.BUNDLE_BROKEN, subject=path, expected="a model bundle's folder",
                        found=f"no {METADATA_FILE.as_posix()}",
                        hint=NNUNET_HINT if (path / "plans.json").is_file() else "")
    raise UserError(code=Code.UNKNOWN_NAME,
                    found=f"unknown model '{name_or_path}'{nearest(str(name_or_path), folders)}",
                    hint=f"installed: {', '.join(folders) or 'none'}")
