"""The random walk is the solution of its linear system, and its system is Grady's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from PartialOrganSegLib.refining.coarse import block_means, interpolated
from PartialOrganSegLib.refining.random_walk import LEAST_WEIGHT, edge_weights, random_walk

SPACING = (3.0, 2.0, 1.5)


def dense_solution(hu: np.ndarray, prior: np.ndarray, weight: float, held: np.ndarray, contrast: float) -> np.ndarray:
    """The same minimum from one dense matrix, written down voxel by voxel."""
    number = np.arange(hu.size).reshape(hu.shape)
    matrix, right = weight * np.eye(hu.size), weight * prior.ravel().astype(float)
    for place in itertools.product(*(range(n) for n in hu.shape)):
        for axis in range(3):
            neighbour = tuple(p + (a == axis) for a, p in enumerate(place))
            if neighbour[axis] == hu.shape[axis]:
                continue
            alike = np.exp(-((hu[place] - hu[neighbour]) / contrast) ** 2) + LEAST_WEIGHT
            value = alike * (SPACING[2] / SPACING[axis]) ** 2
            i, j = number[place], number[neighbour]
            matrix[[i, j], [i, j]] += value
            matrix[[i, j], [j, i]] -= value
    # Voxels that are held have their value; only the others are unknowns.
    free = ~held.ravel()
    solution = prior.ravel().astype(float)
    right = right[free] - matrix[np.ix_(free, ~free)] @ solution[~free]
    solution[free] = np.linalg.solve(matrix[np.ix_(free, free)], right)
    return solution.reshape(hu.shape)


def test_it_solves_the_system():
    generator = np.random.default_rng(3)
    hu = generator.normal(40, 30, (5, 6, 7)).astype(np.float32)
    prior = generator.random(hu.shape).astype(np.float32)
    held = generator.random(hu.shape) < 0.1
    solution = random_walk(edge_weights(hu, SPACING, 25.0), prior, 0.1, held)
    expected = dense_solution(hu, prior, 0.1, held, 25.0)
    assert np.array_equal(solution[held], prior[held])
    assert np.abs(solution - expected).max() < 0.01


def test_it_can_be_ended():
    def enough() -> None:
        raise KeyboardInterrupt

    prior = np.random.default_rng(0).random((4, 4, 4)).astype(np.float32)
    with pytest.raises(KeyboardInterrupt):
        random_walk(edge_weights(prior * 50, SPACING, 25.0), prior, 0.1, prior > 0.9, enough)


def test_blocks_are_means_and_a_ramp_comes_back():
    z, y, x = np.meshgrid(np.arange(3.0), np.arange(9.0), np.arange(10.0), indexing="ij")
    ramp = z + 2 * y + 3 * x
    means = block_means(ramp, (1, 2, 2))
    assert means.shape == (3, 5, 5)
    assert means[1, 2, 3] == ramp[1, 4:6, 6:8].mean()
    fine = interpolated(means, (1, 2, 2), (3, 9, 10))
    inner = (slice(None), slice(1, 7), slice(1, 9))  # the last block holds a repeated row
    assert np.allclose(fine[inner], ramp[inner], atol=1e-4)
