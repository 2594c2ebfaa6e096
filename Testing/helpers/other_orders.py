"""A volume as another program stores it: the same voxels at the same places, listed along other axes."""

from PartialOrganSegLib.imaging.volume import AxisOrder, Grid, Volume

# A third of a turn, and two axes that only run backwards: an order that is not its own inverse.
TURNED, MIRRORED = AxisOrder((2, 0, 1), (True, False, True)), AxisOrder((0, 1, 2), (True, True, False))


def stored_otherwise(volume: Volume, order: AxisOrder = TURNED) -> Volume:
    """The volume in another axis order."""
    return Volume(order.to_canonical(volume.array), order.canonical_grid(volume.grid))


def elsewhere(grid: Grid, mm: float = 3.0) -> Grid:
    """The grid, moved along x."""
    return Grid(grid.size, grid.spacing, (grid.origin[0] + mm, *grid.origin[1:]), grid.direction)
