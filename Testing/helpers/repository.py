"""Where the repository and its scripts lie, for tests that start processes or run scripts."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"


def import_script(name: str, folder: str = "") -> ModuleType:
    """The module `name` of `scripts/folder`; its neighbours are imported by bare name, as when it is run."""
    # The path goes again at once: two scripts of one name must not be mixed up later.
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS / folder))
        return importlib.import_module(name)
