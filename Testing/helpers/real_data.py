"""Real CTs for tests, where a developer has them. They are never part of the repository."""

from pathlib import Path

import pytest

from Testing.helpers.repository import ROOT

REAL_DATA = ROOT.parent / "shared" / "data"


def real_data_path(*parts: str) -> Path:
    """A file or folder under ../shared/data; skips the calling test, saying so, where it is absent."""
    path = REAL_DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"real data not here: {'/'.join(parts)}")
    return path
