"""The random walker with priors: a probability that is smooth inside tissues, and may jump where the CT does.

The minimum over v of `sum over neighbours w_ij (v_i - v_j)^2 + prior_weight * sum (v_i - prior_i)^2`, with v held where
it is known (Grady 2005, "Multilabel random walker image segmentation using prior models", equations 4 and 9). Its
linear system is symmetric and positive, so conjugate gradients find it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..imaging.shapes import Mask, Spacing3
from .coarse import Values

LEAST_WEIGHT = 1e-3  # of neighbours, so that no voxel is cut off
TOLERANCE = 2e-3  # of the residual against the right-hand side; below it no label changes any more
MOST_STEPS = 200


def edge_weights(hu: Values, spacing: Spacing3, contrast_hu: float) -> tuple[Values, Values, Values]:
    """`exp(-(difference in HU / contrast_hu)^2)` of neighbours along z, y and x, less for those farther apart.

    Each is one shorter than `hu` along its axis.
    """
    z, y, x = (_weights(hu, axis, contrast_hu, (spacing[2] / spacing[axis]) ** 2) for axis in range(3))
    return z, y, x


def _weights(hu: Values, axis: int, contrast_hu: float, nearness: float) -> Values:
    alike = np.exp(-np.square(np.diff(hu, axis=axis) / contrast_hu))
    return np.asarray((alike + LEAST_WEIGHT) * nearness, np.float32)


def random_walk(weights: tuple[Values, Values, Values], prior: Values, prior_weight: float, held: Mask,
                keep_on: Callable[[], None] = lambda: None) -> Values:
    """The probability of each voxel (z, y, x); that of a voxel which is `held` stays its `prior`.

    `weights` are those of `edge_weights`. `keep_on` is called at every step and may raise to end the work.
    """
    diagonal = np.full(prior.shape, prior_weight, np.float32)
    for axis, weight in enumerate(weights):
        first, second = _neighbours(axis)
        diagonal[first] += weight
        diagonal[second] += weight

    def system(values: Values) -> Values:
        product = diagonal * values
        for axis, weight in enumerate(weights):
            first, second = _neighbours(axis)
            product[second] -= weight * values[first]
            product[first] -= weight * values[second]
        return product

    free = ~held
    solution = prior.copy()
    target = prior_weight * prior
    residual = (target - system(solution)) * free
    enough = TOLERANCE * max(float(np.linalg.norm(target)), 1e-6)
    scaled = residual / diagonal
    step = scaled.copy()
    size = float(np.vdot(residual, scaled))
    for _ in range(MOST_STEPS):
        if float(np.linalg.norm(residual)) <= enough:
            break
        keep_on()
        along = system(step) * free
        length = size / max(float(np.vdot(step, along)), 1e-30)
        solution += np.float32(length) * step
        residual -= np.float32(length) * along
        scaled = residual / diagonal
        previous, size = size, float(np.vdot(residual, scaled))
        step = scaled + np.float32(size / previous) * step
    return solution


def _neighbours(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Indices of the voxels with a further neighbour along an axis, and of these neighbours."""
    first, second = [slice(None)] * 3, [slice(None)] * 3
    first[axis], second[axis] = slice(None, -1), slice(1, None)
    return tuple(first), tuple(second)
