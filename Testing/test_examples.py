"""The examples in the library's docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

from PartialOrganSegLib.formats.writing import write_ct, write_labelmap
from PartialOrganSegLib.synthesis.phantom import make_phantom
from Testing.helpers.repository import ROOT

MANIFEST = "datasets: [{name: phantoms, kind: full, cases: [{image: ct.nii.gz, label: label.nii.gz}]}]\n"

# Found by their text: a new example is run without being listed.
WITH_EXAMPLES = sorted(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
                       for path in (ROOT / "PartialOrganSegLib").rglob("*.py")
                       if ">>> " in path.read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def example_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder that the examples run in, with the middle of a phantom: so small that it takes two seconds."""
    ct, labels = make_phantom((20, 20, 20), (8.0, 8.0, 8.0))
    write_ct(tmp_path / "ct.nii.gz", ct)
    write_labelmap(tmp_path / "label.nii.gz", labels)
    (tmp_path / "manifest.yaml").write_text(MANIFEST, encoding="utf-8")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_run(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module), report=True).failed == 0
