"""Simpler ways to use the strokes of one CT, which `PartialOrganSegLib.refining` is measured against."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from PartialOrganSegLib.imaging.volume import Grid
from PartialOrganSegLib.refining.coarse import block_means, block_sizes
from PartialOrganSegLib.refining.neighbourhood import NOT_DRAWN, WORKING_MM
from PartialOrganSegLib.refining.regions import padded_box
from Testing.helpers.stroke_benchmark import Corrector
from Testing.helpers.stroke_user import Drawn, Scene

CORE_MM, FREE_MM, MARGIN_MM = 2.5, 25.0, 40.0  # of the markers, and of the box that they are grown in

def pasted(scene: Scene) -> Corrector:
    """What was drawn, and nothing else."""
    labels = scene.start.copy()

    def correct(stroke: Drawn) -> np.ndarray:
        labels[stroke.voxels] = stroke.value
        return labels.copy()

    return correct


def from_markers(grow: Callable[[np.ndarray, np.ndarray, Grid], np.ndarray]) -> Callable[[Scene], Corrector]:
    """An arm that grows markers: `grow(hu, markers, grid)` gives label + 1 of every voxel, markers hold 0 or that."""
    def arm(scene: Scene) -> Corrector:
        drawn = np.full(scene.start.shape, NOT_DRAWN, np.uint8)

        def correct(stroke: Drawn) -> np.ndarray:
            drawn[stroke.voxels] = stroke.value
            place = ndimage.find_objects((drawn != NOT_DRAWN).astype(np.uint8))[0]
            box = padded_box(place, MARGIN_MM, scene.spacing, drawn.shape)
            start = scene.start[box]
            markers = cores(start, drawn[box], scene.spacing)
            size = start.shape[::-1]
            grown = grow(scene.ct.array[box], markers, Grid(size, scene.ct.grid.spacing))
            labels = scene.start.copy()
            labels[box] = np.where(grown > 0, grown - 1, start)
            # Whatever the rival grows, strokes are obeyed, as in ours.
            labels[drawn != NOT_DRAWN] = drawn[drawn != NOT_DRAWN]
            return labels

        return correct

    return arm


def cores(start: np.ndarray, drawn: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """uint8 markers, label + 1: strokes, and start labels away from their borders and from what contradicts them."""
    markers = np.zeros(start.shape, np.uint8)
    for value in np.unique(start).tolist():
        mask = start == value
        core = ndimage.distance_transform_edt(mask, sampling=spacing) > CORE_MM
        against = mask & (drawn != NOT_DRAWN) & (drawn != value)
        if against.any():
            core &= ndimage.distance_transform_edt(~against, sampling=spacing) > FREE_MM
        markers[core] = value + 1
    markers[drawn != NOT_DRAWN] = drawn[drawn != NOT_DRAWN] + 1
    return markers


def watershed(hu: np.ndarray, markers: np.ndarray, grid: Grid) -> np.ndarray:
    """SimpleITK's, on the CT's gradient."""
    image = sitk.GetImageFromArray(hu.clip(-160, 240).astype(np.float32))
    image.SetSpacing(grid.spacing)
    seeds = sitk.GetImageFromArray(markers)
    seeds.CopyInformation(image)
    gradient = sitk.GradientMagnitudeRecursiveGaussian(image, 1.0)
    grown = sitk.MorphologicalWatershedFromMarkers(gradient, seeds, markWatershedLine=False, fullyConnected=True)
    return sitk.GetArrayFromImage(grown).astype(np.int16)


def random_walker(hu: np.ndarray, markers: np.ndarray, grid: Grid) -> np.ndarray:
    """scikit-image's, on the blocks of voxels that ours works on, or it would take minutes."""
    from skimage.segmentation import random_walker as walk

    x, y, z = grid.spacing
    block = block_sizes((z, y, x), WORKING_MM)
    coarse_hu = block_means(hu.clip(-160, 240), block)
    coarse = np.zeros(coarse_hu.shape, np.int32)
    shares = {value: block_means(markers == value, block) for value in np.unique(markers[markers > 0]).tolist()}
    for value, share in shares.items():
        coarse[share > 0.5] = value
    for value, share in shares.items():  # strokes are thin: any of them in a block counts
        coarse[(share > 0) & (coarse == 0)] = value
    spacing = [mm * length for mm, length in zip((z, y, x), block, strict=True)]
    # It numbers the markers' values anew, from 1 and without gaps.
    values, numbered = np.unique(coarse, return_inverse=True)
    if values[0] > 0:
        return markers.astype(np.int16)
    grown = values[walk(coarse_hu / 400, numbered.reshape(coarse.shape), beta=130, mode="cg_j", tol=1e-3,
                        spacing=spacing)]
    fine = grown.repeat(block[0], 0).repeat(block[1], 1).repeat(block[2], 2)
    return fine[:hu.shape[0], :hu.shape[1], :hu.shape[2]].astype(np.int16)
