"""The patient is found, with lungs and gas inside, and the air around is not."""

import numpy as np

from PartialOrganSegLib.imaging.body import find_body


def body_in_air() -> np.ndarray:
    """(40, 96, 120) HU at 3 x 2 x 2 mm: a soft trunk with a gas-filled cavity and a table behind it."""
    ct = np.full((40, 96, 120), -1000, np.int16)
    ct[:, 20:70, 20:100] = 40
    # Gas inside the patient: air by its HU, but not outside.
    ct[10:30, 35:55, 45:75] = -900
    ct[:, 88:90, 10:110] = 200
    return ct


def test_outside_is_the_air_around_and_the_table_only():
    ct = body_in_air()
    body = find_body(ct, (3.0, 2.0, 2.0))
    outside = np.zeros(ct.shape, bool)
    outside[body.box] = body.outside(tuple(part.stop - part.start for part in body.box))
    assert not outside[:, 20:70, 20:100].any()
    # The last row of the box, below the table.
    far = body.box[1].stop - 1
    assert outside[:, far, body.box[2]].all()
    assert outside[body.box].mean() > 0.05


def test_outside_fits_a_grid_of_another_spacing():
    body = find_body(body_in_air(), (3.0, 2.0, 2.0))
    fine = tuple(part.stop - part.start for part in body.box)
    coarse = tuple(size // 2 for size in fine)
    assert abs(body.outside(coarse).mean() - body.outside(fine).mean()) < 0.05


def test_nothing_is_outside_where_no_patient_is_seen():
    body = find_body(np.full((20, 30, 30), -1000, np.int16), (3.0, 2.0, 2.0))
    assert not body.outside((5, 6, 7)).any()
