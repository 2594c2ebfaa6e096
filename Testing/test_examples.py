"""The examples in the library's docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib

import pytest

from Testing.helpers.repository import ROOT

WITH_EXAMPLES = sorted(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
                       for path in (ROOT / "PartialOrganSegLib").rglob("*.py")
                       if ">>> " in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_run(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module), report=True).failed == 0
