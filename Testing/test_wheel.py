"""The package as pip installs it: source archive, wheel, an empty folder far from the checkout, a result there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from PartialOrganSegLib import __version__
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from PartialOrganSegLib.resources import RESOURCES
from Testing.helpers.repository import ROOT

# Without `site` there is no editable installation of the checkout, only the environment's packages.
RUN = """
import sys
sys.path[:0] = {folders!r}
import PartialOrganSegLib
assert PartialOrganSegLib.__file__.startswith({installed!r}), PartialOrganSegLib.__file__
"""
# Commands one after the other, apart by "then": each in a process of its own would import PyTorch again.
MAIN = """
from PartialOrganSegLib.cli import main
words = [*sys.argv[1:], "then"]
while words:
    end = words.index("then")
    code = main(words[:end])
    if code:
        sys.exit(code)
    del words[:end + 1]
"""


def succeeded(command: list[object], folder: Path) -> str:
    """What a command printed; it must have ended well."""
    completed = subprocess.run([str(word) for word in command], cwd=folder, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, f"{completed.stdout}\n{completed.stderr}"
    return completed.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is built from the source archive that is built from a copy of the tree."""
    folder = tmp_path_factory.mktemp("build")
    copy = folder / "tree"
    shutil.copytree(ROOT / "PartialOrganSegLib", copy / "PartialOrganSegLib",
                    ignore=shutil.ignore_patterns("__pycache__"))
    # All that a build may read: what else it needs would be missing for others.
    for name in ("pyproject.toml", "README.md", "LICENSE.txt"):
        shutil.copyfile(ROOT / name, copy / name)
    build = f"from setuptools.build_meta import build_sdist; print(build_sdist({str(folder)!r}))"
    archive = succeeded([sys.executable, "-c", build], copy).split()[-1]
    with tarfile.open(folder / archive) as packed:
        packed.extractall(folder / "unpacked", filter="data")
    [source] = (folder / "unpacked").iterdir()
    succeeded([sys.executable, "-m", "pip", "wheel", source, "--no-deps", "--no-build-isolation", "--no-index", "-q",
               "-w", folder / "wheels"], folder)
    [built] = (folder / "wheels").iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder that the wheel alone was installed into."""
    folder = tmp_path_factory.mktemp("installed")
    succeeded([sys.executable, "-m", "pip", "install", wheel, "--no-deps", "--no-index", "-q", "--target", folder],
              folder)
    return folder


def python(installed: Path, folder: Path, code: str, *words: object) -> str:
    """What `code` prints where the installed package and the environment's packages can be imported, nothing else."""
    paths = sysconfig.get_paths()
    folders = list(dict.fromkeys([str(installed), paths["purelib"], paths["platlib"]]))
    return succeeded([sys.executable, "-I", "-S", "-c", RUN.format(folders=folders, installed=str(installed)) + code,
                      *words], folder)


def test_every_resource_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    shipped = {path.relative_to(RESOURCES.parent.parent).as_posix() for path in RESOURCES.rglob("*")
               if path.is_file() and "__pycache__" not in path.parts}
    assert shipped <= names
    assert "PartialOrganSegLib/py.typed" in names
    assert not [name for name in names if "Testing" in name or name.endswith(".pyc")]


def test_metadata_is_the_projects(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        [name] = [name for name in packed.namelist() if name.endswith(".dist-info/METADATA")]
        lines = packed.read(name).decode().splitlines()
    assert f"Version: {__version__}" in lines
    assert "Name: partialorganseg" in lines
    assert "License-Expression: Apache-2.0" in lines
    assert any(line.startswith("Requires-Dist: torch") for line in lines)


def test_far_from_the_checkout_it_segments(installed: Path, tmp_path: Path) -> None:
    ct = tmp_path / "phantoms" / "images" / "phantom_0.nii.gz"
    printed = python(installed, tmp_path, MAIN, "models", "list", "--json-events", "then", "phantom", "-o", "phantoms",
                     "--shape", "20", "--spacing", "8", "then", "segment", ct, "-o", "organs.nii.gz", "--device", "cpu")
    assert json.loads(printed.splitlines()[0])["name"] == "embedded"
    assert read_labelmap(tmp_path / "organs.nii.gz").grid.same_as(read_ct(ct).grid)


def test_far_from_the_checkout_the_recipes_are_there(installed: Path, tmp_path: Path) -> None:
    code = """
from PartialOrganSegLib.training.recipe import load_recipe, shipped_recipes
for name in shipped_recipes():
    load_recipe(name)
    print(name)
"""
    listed = python(installed, tmp_path, code).split()
    assert listed == sorted(path.stem for path in (RESOURCES / "recipes").glob("*.yaml"))
    assert "partialorganseg" in listed
