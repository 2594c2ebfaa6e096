"""What several tests of the scripts start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from Testing.helpers.training_data import write_manifest


@pytest.fixture
def blocks(tmp_path: Path) -> Path:
    """Five block cases with a full label of three organs: their manifest."""
    return write_manifest(tmp_path / "blöcks", cases=5)
