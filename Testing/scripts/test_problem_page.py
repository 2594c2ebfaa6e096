"""The page of problems lists what the code has, and nothing in it is made up."""

import re

import pytest

from PartialOrganSegLib.errors import Code
from PartialOrganSegLib.finetuning.data_warning import DataWarningKind
from PartialOrganSegLib.segmenting.check_kinds import CheckKind
from Testing.helpers.repository import ROOT, import_script

script = import_script("write_problem_page")


def test_the_page_is_up_to_date() -> None:
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "run python scripts/write_problem_page.py"


@pytest.mark.parametrize("kinds", [Code, CheckKind, DataWarningKind])
def test_the_page_has_every_kind_once(kinds) -> None:
    listed = re.findall(r"^\| `([^`]+)` \|", script.PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    # The page lists codes, checks and warnings in turn; in each list the order is that of the code.
    names = [kind.value for kind in kinds]
    assert [name for name in listed if name in names] == names


def test_every_code_comes_up_somewhere() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "PartialOrganSegLib").rglob("*.py"))
    assert [code.name for code in Code if not re.search(rf"Code\.{code.name}\b", sources)] == []
