"""The library's types hold: mypy's strict mode, as pyproject.toml sets it, has nothing to say."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys

import pytest

from Testing.helpers.repository import ROOT

# mypy may be installed beside the library or as a program of its own; it looks at the packages of this Python.
IN_THIS_PYTHON = importlib.util.find_spec("mypy") is not None
COMMAND = [sys.executable, "-m", "mypy"] if IN_THIS_PYTHON else [shutil.which("mypy") or ""]


@pytest.mark.skipif(COMMAND == [""], reason="needs mypy (pip install 'mypy>=2.4,<2.5')")
def test_the_library_is_typed() -> None:
    checked = subprocess.run([*COMMAND, "--python-executable", sys.executable], cwd=ROOT, capture_output=True,
                             text=True, check=False)
    assert checked.returncode == 0, f"\n{checked.stdout}{checked.stderr}"


def test_others_see_the_types() -> None:
    assert (ROOT / "PartialOrganSegLib" / "py.typed").is_file()
