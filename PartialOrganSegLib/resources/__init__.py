"""The files that travel inside the package: models, recipes, label maps, downloads, statistics of organs."""

from __future__ import annotations

import importlib.resources
import warnings
from pathlib import Path

RESOURCES = Path(str(importlib.resources.files(__name__)))  # pip unpacks every wheel, so it is a folder


def resource(*parts: str) -> Path:
    """Path of a shipped file or folder, which need not exist.

    >>> resource("recipes", "embedded.yaml").is_file()
    True
    """
    return RESOURCES.joinpath(*parts)


def moved(path: Path) -> Path:
    """`path`, or the shipped file that had this path when they all lay in a folder `Resources` of the checkout.

    Scripts may still name them so: the name to use today is warned of (FutureWarning).
    """
    parts = path.parts
    if path.exists() or "Resources" not in parts[:-1]:
        return path
    shipped = resource(*parts[parts.index("Resources") + 1:])
    if not shipped.exists():
        return path
    name = shipped.name
    if shipped.parent.name == "recipes":
        name = shipped.stem
    warnings.warn(f"{path}: expected the name of what ships with the library, found its former path; write {name}",
                  FutureWarning, stacklevel=2)
    return shipped
