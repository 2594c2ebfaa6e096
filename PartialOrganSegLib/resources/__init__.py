"""The files that travel inside the package: models, recipes, label maps, downloads, statistics of organs."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

RESOURCES = Path(str(importlib.resources.files(__name__)))  # pip unpacks every wheel, so it is a folder


def resource(*parts: str) -> Path:
    """Path of a shipped file or folder, which need not exist.

    >>> resource("recipes", "embedded.yaml").is_file()
    True
    """
    return RESOURCES.joinpath(*parts)
