"""A working grid knows where in the patient its voxels lie."""

from __future__ import annotations

import numpy as np
import pytest

from PartialOrganSegLib.imaging.working_grid import WorkingGrid
from Testing.helpers.three_boxes import centred


@pytest.mark.parametrize("degrees", [0.0, 25.0])
def test_a_frame_knows_where_its_voxels_lie(degrees):
    grid = centred((40, 36, 30), (3.0, 4.0, 5.0), degrees)
    frame = WorkingGrid.of(grid, (slice(2, 30), slice(0, 36), slice(5, 33)), None, (6.0, 6.0, 6.0))
    corner, next_one = (frame.to_patient(grid) @ [k, k, k, 1] for k in (0, 1))
    mm = np.linalg.norm(next_one - corner)
    assert mm == pytest.approx(np.linalg.norm(frame.spacing_zyx), rel=1e-6)
    centre = frame.to_patient(grid) @ [*((n - 1) / 2 for n in frame.shape), 1]
    expected = grid.matrix @ [(5 + 32) / 2, 35 / 2, (2 + 29) / 2, 1]
    # On a tilted grid the working grid is the box of the tilted one, so its centre lies elsewhere by up to a voxel.
    assert np.abs(centre - expected).max() < (1e-6 if degrees == 0 else 4)
