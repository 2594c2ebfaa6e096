"""An nnU-Net v2 results folder, read without running anything that lies in it."""

from __future__ import annotations

import codecs
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import Code, UserError, kind_of
from ..json_file import read_json

CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
LAYOUT = "plans.json, dataset.json and fold_X/checkpoint_final.pth"
# nnU-Net's log keeps NumPy numbers. `scalar` and `dtype` make a number of given bytes and run nothing; up to NumPy 1
# `scalar` had another path, and bytes were pickled as text.
_SCALAR: Any = np.float64(0).__reduce__()[0]  # a function, for which NumPy states no type
HARMLESS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    np.dtype, _SCALAR, (_SCALAR, "numpy.core.multiarray.scalar"), (_SCALAR, "numpy._core.multiarray.scalar"),
    codecs.encode, *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "u1", "?"))]


@dataclass(frozen=True)
class Results:
    """One trained fold: `plans` and `dataset` as in the JSON files, `weights` by nnU-Net's names of parameters."""

    folder: Path
    plans: dict[str, Any]
    dataset: dict[str, Any]
    fold: str
    checkpoint: Path
    configuration: str
    trainer: str
    mirror_axes: tuple[int, ...]
    weights: dict[str, torch.Tensor]
    other_folds: list[str]


def named_folds(folder: Path | str, fold: str | None = None) -> list[str]:
    """The folds that `fold` names: one, several ("0,1,2") or "each" of those with a number; None as `read_results`.

    Raises UserError for a folder without a fold of that sort.
    """
    available = _folds(_model_folder(Path(folder)))
    if fold is None:
        return [next(iter(available))]
    if fold != "each":
        names = [name.strip() for name in str(fold).split(",")]
        if len(set(names)) < len(names):
            raise UserError(code=Code.VALUE_UNFIT, subject="fold", expected="different folds", found=f"'{fold}'")
        return names
    numbered = [name for name in available if name != "all"]
    if not numbered:
        raise UserError(code=Code.UNKNOWN_NAME, subject=folder, expected="folds with a number", found="all alone")
    return numbered


def _folds(folder: Path) -> dict[str, Path]:
    """Trained folds and their checkpoints, "all" first. Raises UserError where there is none."""
    checkpoints: dict[str, Path] = {}
    for name in reversed(CHECKPOINTS):  # the first is the best: it takes the place of the others
        for path in folder.glob(f"fold_*/{name}"):
            checkpoints[path.parent.name.removeprefix("fold_")] = path
    if not checkpoints:
        unfinished = sorted(f"{path.parent.name}/{path.name}" for path in folder.glob("fold_*/*.pth"))
        raise UserError(code=Code.FILE_MISSING, subject=folder, expected=f"a trained fold ({LAYOUT})",
                        found=", ".join(unfinished) or "none",
                        hint="nnU-Net writes the final checkpoint at the end of a training" if unfinished else "")
    # "all" saw every case, and fold 10 comes after fold 9.
    order = sorted(checkpoints, key=lambda name: (name != "all", len(name), name))
    return {name: checkpoints[name] for name in order}


def read_results(folder: Path | str, fold: str | None = None) -> Results:
    """The trained model in `folder`, or in its one subfolder that holds one; `fold` is a number or "all".

    Without `fold` it is the one trained on all cases if there is one, else the first. Raises UserError for folders of
    version 1, incomplete ones, unknown folds, and checkpoints that hold more than tensors, texts and numbers.
    """
    folder = _model_folder(Path(folder))
    plans, dataset = (_read_json(folder / name) for name in ("plans.json", "dataset.json"))
    checkpoints = _folds(folder)
    folds = list(checkpoints)
    fold = folds[0] if fold is None else str(fold)
    if fold not in checkpoints:
        raise UserError(code=Code.UNKNOWN_NAME, subject=folder, expected=f"fold {' or '.join(folds)}",
                        found=f"'{fold}'")
    checkpoint = checkpoints[fold]
    content = _read_checkpoint(checkpoint)
    try:
        axes = content.get("inference_allowed_mirroring_axes")
        return Results(folder, plans, dataset, fold, checkpoint, str(content["init_args"]["configuration"]),
                       str(content["trainer_name"]), tuple(int(axis) for axis in axes or ()),
                       _plain_names(content["network_weights"]), [name for name in folds if name != fold])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(code=Code.WRONG_FORMAT, subject=checkpoint,
                        expected="a checkpoint of nnU-Net version 2", found=f"one without {error}") from None


def _model_folder(folder: Path) -> Path:
    if not folder.is_dir():
        is_file = folder.is_file()
        raise UserError(code=Code.FILE_MISSING, subject=folder, expected=f"an nnU-Net results folder ({LAYOUT})",
                        found="a file" if is_file else "no such folder", hint="unpack a zip first" if is_file else "")
    if (folder / "plans.json").is_file():
        return folder
    if folder.name.startswith("fold_") and (folder.parent / "plans.json").is_file():
        raise UserError(code=Code.FILE_MISSING, subject=folder, expected=f"an nnU-Net results folder ({LAYOUT})",
                        found="one of its folds",
                        hint=f"name {folder.parent}, and the fold by --fold {folder.name.removeprefix('fold_')}")
    inside = sorted(path.parent for path in folder.glob("**/plans.json") if (path.parent / "dataset.json").is_file())
    # nnU-Net's cross-validation (crossval_results_folds_...) copies both files to where no network is.
    inside = [path for path in inside if any(path.glob("fold_*"))] or inside
    if len(inside) == 1:
        return inside[0]
    if inside:
        names = ", ".join(str(path.relative_to(folder)) for path in inside)
        raise UserError(code=Code.SETTING_MISSING, subject=folder, expected="one trained model", found=names,
                        hint="name one of them")
    if any(next(folder.glob(f"**/{name}"), None) for name in ("plans.pkl", "*.model", "*.model.pkl")):
        raise UserError(code=Code.UNSAFE_FILE, subject=folder,
                        expected=f"a results folder of nnU-Net version 2 ({LAYOUT})",
                        found="one of version 1: its plans are a pickle, which can run code, and are not read",
                        hint="train it again with version 2")
    raise UserError(code=Code.FILE_MISSING, subject=folder, expected=f"an nnU-Net results folder ({LAYOUT})",
                    found="no plans.json")


def _read_json(path: Path) -> dict[str, Any]:
    content = read_json(path, "nnU-Net's settings as JSON")
    if not isinstance(content, dict):
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="nnU-Net's settings",
                        found=kind_of(content))
    return content


def _read_checkpoint(path: Path) -> dict[str, Any]:
    if not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):  # neither are safe globals by name
        raise UserError(code=Code.PACKAGE_MISSING, subject=path,
                        expected="PyTorch 2.6 or newer to read a checkpoint safely", found=torch.__version__)
    try:
        with torch.serialization.safe_globals(HARMLESS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL ([\w.]+)", str(error))
        content_found = f"one that asks for {name[1]}" if name else "one that has to be unpickled"
        raise UserError(code=Code.UNSAFE_FILE, subject=f"{path}: refused",
                        expected="a checkpoint of tensors, texts and numbers only", found=content_found,
                        hint="unpickling anything else can run code") from None
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="a readable checkpoint",
                        found=f"a damaged one ({' '.join(str(error).split())[:200]})") from None
    if not isinstance(content, dict):
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="a checkpoint of nnU-Net version 2",
                        found=kind_of(content))
    return content


def _plain_names(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without the prefixes of compiled and distributed training, and without the second and third names that nnU-Net
    gives the same tensors."""
    plain = {}
    for name, value in weights.items():
        name = re.sub(r"^((module|_orig_mod)\.)+", "", name)
        if ".all_modules." not in name and not name.startswith("decoder.encoder."):
            plain[name] = value
    return plain
