"""Where a body lies, judged from the organs of a label map: a frame, the femoral heads and the spine's course."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..resources import resource

# Femoral head centres (z, y, |x|) mm from the label box centre, and the reach of neck and trochanter: WORD labels both.
HEAD_PRIOR = (-168.0, 15.0, 92.0)
HEAD_RADIUS = 23.0
# z of the highest abdominal organ, and y of the kidneys' middle, where no organ shows it: WORD's means.
USUAL_DOME_MM, USUAL_KIDNEY_Y_MM = 205.0, 43.0


class Position(TypedDict):
    """Mean and standard deviation between patients of a (z, y, x) position in mm."""

    mean: list[float]
    std: list[float]


class OrganStatistics(TypedDict):
    """What `word_statistics.json` says of an organ and is used here."""

    centroid_mm_from_label_box_centre: Position


@functools.cache
def organ_statistics() -> dict[str, OrganStatistics]:
    """Positions and extents of the organs over the 30 WORD maps: the shipped `word_statistics.json`."""
    content: dict[str, dict[str, OrganStatistics]] = json.loads(
        resource("word_statistics.json").read_text(encoding="utf-8"))
    return content["organs"]


@dataclass
class Landmarks:
    """`origin`: (z, y, x) mm of voxel 0 in the frame of the label box centre, x = 0 at the midline.

    `heads`: (z, y, x) mm of the left and right femoral head. `dome`: z mm of the highest abdominal organ.
    `spine_y`: (z,) mm, y of the vertebral bodies' centre in every slice.
    """

    origin: tuple[float, float, float]
    heads: dict[str, np.ndarray]
    dome: float
    spine_y: npt.NDArray[np.float64]

    def head(self, side: int) -> np.ndarray:
        """The femoral head of a side: 1 the patient's left, -1 the right."""
        if side > 0:
            return self.heads["left"]
        return self.heads["right"]


def estimate_frame(labels: np.ndarray, spacing: tuple[float, float, float],
                   names: dict[int, str]) -> npt.NDArray[np.float64]:
    """(z, y, x) mm of the label box centre from voxel 0, by each organ's centroid and its usual offset.

    Organs cut by the border count a tenth, because their centroid is not the organ's. Without any known organ the
    middle of the grid is taken.
    """
    statistics = organ_statistics()
    # A weight next to nothing for the middle of the grid decides where no organ does.
    total, weights = np.zeros(3), np.full(3, 1e-9)
    total += weights * np.array(labels.shape) / 2 * spacing
    for value, box in enumerate(ndimage.find_objects(labels), 1):
        organ = statistics.get(names.get(value, ""))
        if box is None or organ is None:
            continue
        inside = labels[box] == value
        centroid = []
        for part, across in zip(box, ((1, 2), (0, 2), (0, 1)), strict=True):
            centroid.append(np.average(np.arange(part.start, part.stop), weights=inside.sum(axis=across)))
        offset = organ["centroid_mm_from_label_box_centre"]
        is_cut = any(part.start == 0 or part.stop == size for part, size in zip(box, labels.shape, strict=True))
        trust = 0.1 if is_cut else 1.0
        weight = trust / np.array(offset["std"]) ** 2
        total += weight * (np.array(centroid) * spacing - offset["mean"])
        weights += weight
    frame: npt.NDArray[np.float64] = total / weights
    return frame


def find_landmarks(labels: np.ndarray, spacing: tuple[float, float, float], names: dict[int, str],
                   rng: np.random.Generator) -> Landmarks:
    """Landmarks of a (z, y, x) label map with axes to superior, posterior, left; organs not shown are guessed."""
    frame = estimate_frame(labels, spacing, names)
    origin = (float(-frame[0]), float(-frame[1]), float(-frame[2]))
    axes = [np.arange(n) * s + o for n, s, o in zip(labels.shape, spacing, origin, strict=True)]
    index = {name: value for value, name in names.items()}
    heads = {}
    for side, sign in (("left", 1), ("right", -1)):
        at = _voxels_of(labels, [index.get(f"head_of_{side}_femur", 0)])
        heads[side] = np.array([HEAD_PRIOR[0], HEAD_PRIOR[1], sign * HEAD_PRIOR[2]])
        if len(at) * np.prod(spacing) > 5000:  # 5 ml: less is a sliver at the border, which has no middle
            # WORD's label goes down the neck to the trochanter; the head is its upper, inner end.
            mm = at * spacing + origin
            mm = mm[mm[:, 0] > mm[:, 0].max() - 2 * HEAD_RADIUS]
            medial = np.percentile(mm[:, 2] * sign, 1)
            mm = mm[mm[:, 2] * sign < medial + 2 * HEAD_RADIUS]
            heads[side] = np.median(mm, axis=0)
        heads[side][2] = sign * max(55.0, heads[side][2] * sign)
    upper = np.isin(labels, [index[name] for name in ("liver", "spleen", "stomach") if name in index]) & (labels > 0)
    levels = np.flatnonzero(upper.any(axis=(1, 2)))
    dome = USUAL_DOME_MM
    if len(levels):
        dome = float(axes[0][levels[-1]])
    return Landmarks(origin, heads, dome, _spine_course(labels, axes, heads, index, rng))


def _voxels_of(labels: np.ndarray, values: list[int]) -> npt.NDArray[np.intp]:
    """(n, 3) indices of the voxels with one of the label values; value 0, the background, stands for no organ."""
    organs = [value for value in values if value]
    if not organs:
        return np.empty((0, 3), np.intp)
    return np.argwhere(np.isin(labels, organs))


def _spine_course(labels: np.ndarray, axes: list[np.ndarray], heads: dict[str, np.ndarray], index: dict[str, int],
                  rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """(z,) y of the vertebral bodies' centre: a usual course, pushed back behind every organ near the midline."""
    head_z = (heads["left"][0] + heads["right"][0]) / 2
    head_y = (heads["left"][1] + heads["right"][1]) / 2
    z, y, x = axes
    kidneys = _voxels_of(labels, [index.get(name, 0) for name in ("left_kidney", "right_kidney")])
    kidney_y = USUAL_KIDNEY_Y_MM
    if len(kidneys):
        kidney_y = y[kidneys[:, 1]].mean()
    lumbar = kidney_y + rng.uniform(-8, 4)
    knots = [head_z - 60, head_z - 10, head_z + 30, head_z + 65, head_z + 100, head_z + 135, head_z + 200, 140.0, 260.0]
    values = [head_y + 38, head_y + 50, head_y + 60, head_y + 50, head_y + 26, lumbar - 12, lumbar - 8, lumbar,
              lumbar + 18]
    order = np.argsort(knots)
    course = np.interp(z, np.array(knots)[order], np.array(values)[order])

    # No vertebra may lie in an organ: the course is pushed behind whatever is near the midline.
    near = np.abs(x) < 16
    middle = np.zeros(labels.shape[:2], bool)
    if near.any():
        middle = np.any(labels[:, :, near] > 0, axis=2)
    lowest = np.where(middle.any(axis=1), y[len(y) - 1 - np.argmax(middle[:, ::-1], axis=1)], -1e3)
    radius = np.where(z < head_z + 70, 14.0, 21.0)
    needed = lowest + radius + rng.uniform(2, 8)
    window = 1
    if len(z) > 1:
        window = max(1, round(20 / abs(z[1] - z[0])))
    course = np.maximum(course, ndimage.maximum_filter1d(needed, window))
    smooth: npt.NDArray[np.float64] = ndimage.gaussian_filter1d(course, max(window / 2, 0.5), mode="nearest")
    return smooth
