"""What tests of `evaluate` share."""

from pathlib import Path

import numpy as np
import pytest

from PartialOrganSegLib.formats.writing import write_ct, write_labelmap
from PartialOrganSegLib.imaging.volume import Volume
from Testing.helpers.evaluation_study import GRID, labels


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    # Logs of the user who runs the tests stay as they are.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Three references with CTs, predictions of two models; the second model misses the spleen of case é."""
    for folder in ("ref", "ct", "good", "poor"):
        (tmp_path / folder).mkdir()
    for number, case in enumerate(("a", "b 2", "é")):
        write_labelmap(tmp_path / "ref" / f"{case}_label.nii.gz", labels())
        write_ct(tmp_path / "ct" / f"{case}.nii.gz", Volume(np.full(GRID.shape, 40, np.int16), GRID))
        write_labelmap(tmp_path / "good" / f"{case}.labels.nii.gz", labels(number // 2))
        write_labelmap(tmp_path / "poor" / f"{case}.labels.nii.gz", labels(2, (1,) if case == "é" else (1, 2)))
    return tmp_path
