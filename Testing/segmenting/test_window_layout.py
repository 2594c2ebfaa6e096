"""Windows fitted to a volume: they cover it, see few voxels twice, and none is much larger than what was trained on."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from PartialOrganSegLib.segmenting.window_layout import LONGEST, Layout, plan

PATCH, MULTIPLE = (96, 160, 160), (8, 16, 16)
sizes = st.integers(1, 500)


def seen(layout: Layout) -> int:
    """Voxels that the network computes."""
    return math.prod(len(starts) * length for starts, length in zip(layout.starts, layout.window, strict=True))


@given(shape=st.tuples(sizes, sizes, sizes), fitted=st.sampled_from([1.0, 1.3, 2.0]))
def test_every_voxel_is_seen_by_windows_of_allowed_size(shape: tuple[int, int, int], fitted: float) -> None:
    layout = plan(shape, PATCH, MULTIPLE, fitted=fitted)
    assert math.prod(layout.window) <= math.prod(PATCH) * fitted
    for axis, starts in enumerate(layout.starts):
        length = layout.window[axis]
        assert length % MULTIPLE[axis] == 0
        assert length <= PATCH[axis] * min(LONGEST, fitted**2)
        assert starts[0] == 0
        assert starts[-1] + length == layout.padded[axis] >= shape[axis]
        for first, second in pairwise(starts):
            # Half of the length, but for what an even spacing rounds away.
            assert second - first <= length // 2 + 1


@pytest.mark.parametrize(("shape", "before"), [((104, 174, 228), 11_796_480), ((129, 191, 268), 19_464_192),
                                               ((147, 257, 325), 59_719_680)])
def test_fewer_voxels_are_seen_than_where_each_axis_keeps_to_the_patch(shape: tuple[int, int, int],
                                                                      before: int) -> None:
    """Bodies of three CTs; `before`: equal windows, the fewest of at most the patch's length along each axis."""
    assert seen(plan(shape, PATCH, MULTIPLE, fitted=1.0)) == before
    assert seen(plan(shape, PATCH, MULTIPLE, fitted=1.3)) < 0.76 * before


def test_a_body_that_fits_into_a_window_is_seen_once() -> None:
    assert plan((60, 100, 200), PATCH, MULTIPLE, fitted=1.3).starts == ([0], [0], [0])


def test_a_patch_smaller_than_its_multiple_is_rounded_up() -> None:
    assert plan((20, 20, 20), (4, 4, 4), (16, 16, 16), fitted=1.0).window == (16, 16, 16)
