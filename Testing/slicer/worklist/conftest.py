"""What tests of the work list share."""

import pytest
from panel_helpers.list_user import ListUser


@pytest.fixture
def user(make_panel, until, tmp_path):
    """Two patients' CTs on the list; the first one is open."""
    made = ListUser(make_panel, until, tmp_path / "Für die Planung")
    made.write_two()
    made.press("nextCase")
    return made
