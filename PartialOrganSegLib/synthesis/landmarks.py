"""Where a body lies, judged from the organs of a label map: a frame, the femoral heads and the spine's course."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..resources import resource

# Femoral head centres (z, y, |x|) mm from the label box centre, and the reach of neck and trochanter: WORD labels both.
HEAD_PRIOR = (-168.0, 15.0, 92.0)
HEAD_RADIUS = 23.0


@functools.cache
def organ_statistics() -> dict[str, dict]:
    """Positions and extents of the organs over the 30 WORD maps: the shipped `word_statistics.json`."""
    return json.loads(resource("word_statistics.json").read_text(encoding="utf-8"))["organs"]


@dataclass
class Landmarks:
    """`origin`: (z, y, x) mm of voxel 0 in the frame of the label box centre, x = 0 at the midline.

    `heads`: (z, y, x) mm of the left and right femoral head. `dome`: z mm of the highest abdominal organ.
    `spine_y`: (z,) mm, y of the vertebral bodies' centre in every slice.
    """

    origin: tuple[float, float, float]
    heads: dict[str, np.ndarray]
    dome: float
    spine_y: np.ndarray


def estimate_frame(labels: np.ndarray, spacing: tuple[float, float, float], names: dict[int, str]) -> np.ndarray:
    """(z, y, x) mm of the label box centre from voxel 0, by each organ's centroid and its usual offset.

    Organs cut by the border count a tenth, because their centroid is not the organ's. Without any known organ the
    middle of the grid is taken.
    """
    statistics = organ_statistics()
    total, weights = np.zeros(3), np.full(3, 1e-9)
    total += weights * np.array(labels.shape) / 2 * spacing
    for value, found in enumerate(ndimage.find_objects(labels), 1):
        known = statistics.get(names.get(value, ""))
        if found is None or known is None:
            continue
        inside = labels[found] == value
        centre = np.array([np.average(np.arange(s.start, s.stop), weights=inside.sum(axis=other))
                           for s, other in zip(found, ((1, 2), (0, 2), (0, 1)), strict=True)]) * spacing
        offset = known["centroid_mm_from_label_box_centre"]
        cut = any(s.start == 0 or s.stop == n for s, n in zip(found, labels.shape, strict=True))
        weight = (0.1 if cut else 1.0) / np.array(offset["std"]) ** 2
        total += weight * (centre - offset["mean"])
        weights += weight
    return total / weights


def find_landmarks(labels: np.ndarray, spacing: tuple[float, float, float], names: dict[int, str],
                   rng: np.random.Generator) -> Landmarks:
    """Landmarks of a (z, y, x) label map with axes to superior, posterior, left; organs not shown are guessed."""
    frame = estimate_frame(labels, spacing, names)
    origin = tuple(float(-f) for f in frame)
    axes = [np.arange(n) * s + o for n, s, o in zip(labels.shape, spacing, origin, strict=True)]
    index = {name: value for value, name in names.items()}
    heads = {}
    for side, sign in (("left", 1), ("right", -1)):
        value = index.get(f"head_of_{side}_femur", 0)
        at = np.argwhere(labels == value) if value else np.empty((0, 3), int)
        heads[side] = np.array([HEAD_PRIOR[0], HEAD_PRIOR[1], sign * HEAD_PRIOR[2]])
        if len(at) * np.prod(spacing) > 5000:
            mm = at * spacing + origin
            mm = mm[mm[:, 0] > mm[:, 0].max() - 2 * HEAD_RADIUS]
            medial = np.percentile(mm[:, 2] * sign, 1)
            mm = mm[mm[:, 2] * sign < medial + 2 * HEAD_RADIUS]
            heads[side] = np.median(mm, axis=0)
        heads[side][2] = sign * max(55.0, heads[side][2] * sign)
    upper = np.isin(labels, [index.get(n, 0) for n in ("liver", "spleen", "stomach") if n in index]) & (labels > 0)
    levels = np.flatnonzero(upper.any(axis=(1, 2)))
    dome = float(axes[0][levels[-1]]) if len(levels) else 205.0
    return Landmarks(origin, heads, dome, _spine_course(labels, axes, heads, index, rng))


def _spine_course(labels: np.ndarray, axes: list[np.ndarray], heads: dict[str, np.ndarray], index: dict[str, int],
                  rng: np.random.Generator) -> np.ndarray:
    """(z,) y of the vertebral bodies' centre: a usual course, pushed back behind every organ near the midline."""
    head_z = (heads["left"][0] + heads["right"][0]) / 2
    head_y = (heads["left"][1] + heads["right"][1]) / 2
    z, y, x = axes
    kidneys = [index[n] for n in ("left_kidney", "right_kidney") if n in index]
    back = np.argwhere(np.isin(labels, kidneys)) if kidneys else np.empty((0, 3), int)
    kidney_y = y[back[:, 1]].mean() if len(back) else 43.0
    lumbar = kidney_y + rng.uniform(-8, 4)
    knots = [head_z - 60, head_z - 10, head_z + 30, head_z + 65, head_z + 100, head_z + 135, head_z + 200, 140.0, 260.0]
    values = [head_y + 38, head_y + 50, head_y + 60, head_y + 50, head_y + 26, lumbar - 12, lumbar - 8, lumbar,
              lumbar + 18]
    order = np.argsort(knots)
    course = np.interp(z, np.array(knots)[order], np.array(values)[order])

    near = np.abs(x) < 16
    middle = np.zeros(labels.shape[:2], bool)
    if near.any():
        middle = (labels[:, :, near] > 0).any(axis=2)
    lowest = np.where(middle.any(axis=1), y[len(y) - 1 - np.argmax(middle[:, ::-1], axis=1)], -1e3)
    radius = np.where(z < head_z + 70, 14.0, 21.0)
    needed = lowest + radius + rng.uniform(2, 8)
    window = max(1, round(20 / abs(z[1] - z[0]))) if len(z) > 1 else 1
    course = np.maximum(course, ndimage.maximum_filter1d(needed, window))
    return ndimage.gaussian_filter1d(course, max(window / 2, 0.5), mode="nearest")
