"""Scores of some voxels do what scores of all voxels do."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from PartialOrganSegLib.imaging.shapes import Mask
from PartialOrganSegLib.imaging.upsampling import NativeLabels
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting.postprocess import remove_stray_components
from PartialOrganSegLib.segmenting.scores import best_classes, mean_entropy, slices_to_draw
from PartialOrganSegLib.segmenting.sparse_scores import ScoreTable, SparseScores, put_rows, rows_at

SHAPE, CLASSES = (6, 8, 9), WORD16.class_count
EVERYTHING = (slice(0, 6), slice(0, 8), slice(0, 9))
BACKGROUND = torch.full((CLASSES,), -10.0, dtype=torch.float16)
BACKGROUND[0] = 0


def both(seed: int) -> tuple[torch.Tensor, SparseScores, Mask]:
    """The same scores of all voxels and of some, which came in two turns; and which these are."""
    generator = torch.Generator().manual_seed(seed)
    dense = BACKGROUND.repeat(*SHAPE, 1)
    table, stored = ScoreTable(SHAPE, BACKGROUND), np.zeros(SHAPE, bool)
    for _ in range(2):
        for z in range(SHAPE[0]):
            voxels = torch.nonzero(torch.rand(72, generator=generator) < 0.4).ravel()
            values = torch.randn(len(voxels), CLASSES, generator=generator).half() * 3
            rows, numbers = table.rows(z, voxels)
            rows[numbers] = values
            dense[z].flatten(0, 1)[voxels] = values
            stored[z].reshape(-1)[voxels.numpy()] = True
    return dense, table.scores(), stored


def as_dense(scores: SparseScores) -> torch.Tensor:
    return scores.table[torch.from_numpy(scores.row_of).long()]


@given(seed=st.integers(0, 10_000))
def test_rows_come_and_go(seed: int) -> None:
    dense, sparse, stored = both(seed)
    assert torch.equal(as_dense(sparse), dense)
    np.testing.assert_array_equal(best_classes(sparse), best_classes(dense))
    mask = stored & (np.random.default_rng(seed).random(SHAPE) < 0.5)
    rows = rows_at(dense, EVERYTHING, mask)
    assert torch.equal(rows_at(sparse, EVERYTHING, mask), rows)
    for scores in (dense, sparse):
        put_rows(scores, EVERYTHING, mask, rows + 1)
    assert torch.equal(as_dense(sparse), dense)


def test_what_is_not_stored_stays_background() -> None:
    _, sparse, stored = both(0)
    put_rows(sparse, EVERYTHING, ~stored, BACKGROUND + 5)
    assert torch.equal(sparse.table[0], BACKGROUND)


@given(seed=st.integers(0, 10_000))
def test_a_result_is_the_same(seed: int) -> None:
    """Cleaned up, read at a finer grid, and how sure it is."""
    results = []
    for scores in both(seed)[:2]:
        labels = best_classes(scores)
        remove_stray_components(scores, labels, (4.0, 4.0, 4.0), WORD16, 4.0)
        out = np.zeros((11, 17, 20), np.uint8)
        written = np.arange(CLASSES, dtype=np.uint8)
        if isinstance(scores, SparseScores):
            native = NativeLabels(scores.table, labels, written, row_of=scores.row_of)
        else:
            native = NativeLabels(scores, labels, written)
        native.write_aligned(out)
        sureness = dict(mean_entropy(scores, labels, WORD16.names)), slices_to_draw(scores, labels, WORD16.names, 4.0)
        results.append((labels, out, sureness))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])
    assert results[0][2] == results[1][2]
