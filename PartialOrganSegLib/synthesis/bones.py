"""Bones, the muscles on them, and vessels: spine, ribs, pelvis, femurs, psoas, aorta, vena cava, mesentery."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .anatomy import Body
from .canvas import Canvas, Field
from .landmarks import HEAD_RADIUS, Landmarks
from .tissues import Palette


def paint_skeleton(canvas: Canvas, marks: Landmarks, body: Body, palette: Palette) -> None:
    """Muscles of the back and loin, then vertebrae, sacrum, ribs and pelvis over them."""
    _deep_muscles(canvas, marks, body, palette)
    _spine(canvas, marks, palette)
    _ribs(canvas, marks, body, palette)
    for side in (1, -1):
        _hip_bone(canvas, marks, palette, side)


def _bone(canvas: Canvas, parts: list[tuple[np.ndarray, npt.ArrayLike]], palette: Palette, shell_mm: float) -> None:
    """Paints tubes (points, radii) as cortical shells first and their marrow after, so that joints stay open."""
    for points, radii in parts:
        canvas.tube(canvas.hu, points, radii, palette.cortical * 0.75)
    for points, radii in parts:
        canvas.tube(canvas.hu, points, np.maximum(np.asarray(radii) - shell_mm, 1.0), palette.trabecular)


def _deep_muscles(canvas: Canvas, marks: Landmarks, body: Body, palette: Palette) -> None:
    rng, z = canvas.rng, canvas.z.ravel()
    head = (marks.heads["left"] + marks.heads["right"]) / 2
    hip = (marks.heads["left"][2] - marks.heads["right"][2]) / 2
    levels = np.arange(head[0] + 60, max(z[-1], head[0] + 70) + 20, 20.0)
    back = np.interp(levels, z, marks.spine_y)
    size = rng.uniform(0.8, 1.15)
    # The psoas' course from the lumbar spine over the pelvic brim to the thigh; the erector beside the spine.
    for side in (1, -1):
        erector = np.stack([levels, back + 32, np.full_like(levels, side * 27)], axis=1)
        canvas.tube(canvas.hu, erector, 21 * size, palette.muscle, body.inner)
        course = np.array([[head[0] + 250, 0, 26], [head[0] + 190, 0, 34], [head[0] + 140, -4, 43],
                           [head[0] + 95, -12, 52], [head[0] + 50, 0, hip - 18], [head[0] + 5, 0, hip + 2],
                           [head[0] - 45, 0, hip + 12]])
        course[:4, 1] += np.interp(course[:4, 0], z, marks.spine_y)
        course[4:, 1] = [head[1] - 22, head[1] - 34, head[1] + 2]
        course[:, 2] *= side
        canvas.tube(canvas.hu, course, np.array([6, 13, 19, 21, 19, 17, 10]) * size, palette.muscle)
        # Muscles of the thigh's front, with the femoral vessels' triangle of fat left between them.
        thigh = np.array([[head[0] + 20, head[1] - 38, side * (hip + 22)], [head[0] - 80, head[1] - 40, side * hip]])
        canvas.tube(canvas.hu, thigh, [16, 28], palette.muscle, body.skin)
        obturator = np.array([[head[0] + 25, head[1] + 8, side * (hip - 36)],
                              [head[0] - 30, head[1] + 12, side * (hip - 38)]])
        canvas.tube(canvas.hu, obturator, [9, 11], palette.muscle)
    # Pelvic floor and perineum.
    region, ratio = canvas.ellipsoid([head[0] - 48, head[1] + 14, 0], [26, 38, 34])
    floor = (ratio < 1) & (canvas.noise(16.0)[region] > -0.6)
    canvas.hu[region][floor] = palette.muscle


def _spine(canvas: Canvas, marks: Landmarks, palette: Palette) -> None:
    """Lumbar and thoracic vertebrae with discs, canal and processes; the sacrum with its wings below."""
    rng, z = canvas.rng, canvas.z.ravel()
    promontory = marks.heads["left"][0] / 2 + marks.heads["right"][0] / 2 + rng.uniform(82, 100)
    pitch, phase = rng.uniform(30, 37), rng.random()
    width, depth = rng.uniform(20, 26), rng.uniform(15, 19)
    sway = rng.uniform(-5, 5) * np.sin(z / rng.uniform(60, 120))
    cortical, marrow = palette.cortical * 0.6, palette.trabecular
    mottled = canvas.noise(6.0) * 25
    for k, level in enumerate(z):
        x = canvas.x[0] - sway[k]
        plane, dy = canvas.hu[k], canvas.y[0] - marks.spine_y[k]
        if level > promontory:
            part = ((level - promontory) / pitch + phase) % 1.0
            taper = 1.0 - 0.0012 * max(0.0, level - promontory - 60)
            waist = (1 - 0.12 * np.sin(np.pi * min(part / 0.78, 1.0))) * taper
            ratio = np.sqrt((x / (width * waist)) ** 2 + (dy / (depth * waist)) ** 2)
            disc = part > 0.8
            shell = 1 - 2.2 / (depth * waist)
            value = np.where(ratio > shell, cortical, marrow + mottled[k])
            plate = not disc and (part < 0.07 or part > 0.73)
            vertebra = ratio < 1
            if disc:
                plane[vertebra] = 75.0
            else:
                plane[vertebra] = (value + 120 * plate)[vertebra]
            # Arch, then the transverse processes at the middle of the vertebra, the spinous one, and the facets.
            arch = (np.abs(np.hypot(x, dy - depth - 8) - 13) < 3.5) & (dy > depth * 0.6)
            if 0.1 < part < 0.6:
                process_mm = 40 if part < 0.4 else 20
                arch |= (np.abs(dy - depth - 5 - 0.15 * np.abs(x)) < 4.5) & (np.abs(x) < process_mm)
            if part < 0.65:
                arch |= (np.abs(x) < 3.5) & (dy > depth + 18) & (dy < depth + 38)
            facet = np.hypot(np.abs(x) - 17, dy - depth - 12) < 8
            plane[arch | facet] = cortical * 0.8
            plane[np.hypot(x, dy - depth - 8) < 8.5] = 25.0
        else:
            # The sacrum: a plate that narrows downwards and bends back, with its canal and the nerves' holes.
            depth_down = promontory - level
            if depth_down > 125:
                continue
            half = np.interp(depth_down, [0, 25, 60, 100, 125], [58, 54, 32, 12, 7])
            thick = np.interp(depth_down, [0, 40, 90, 125], [20, 17, 11, 6])
            bend = dy + 0.006 * x ** 2 * (depth_down < 70) - 0.15 * np.abs(x)
            ratio = np.maximum(np.abs(x) / half, 0) ** 4 + (bend / thick) ** 2
            value = np.where(ratio > 0.72, cortical, marrow * 0.7 + mottled[k])
            inside = ratio < 1
            plane[inside] = value[inside]
            if depth_down < 80:
                plane[np.hypot(x / 1.6, bend - 5) < 5] = 20.0
                for hole in (24, -24):
                    plane[(np.hypot(x - hole, bend + 3) < 5) & (depth_down % 24 < 10)] = -20.0


def _ribs(canvas: Canvas, marks: Landmarks, body: Body, palette: Palette) -> None:
    """Ribs in the chest wall, each sinking from the spine to the front; cartilage in the front third."""
    rng, z = canvas.rng, canvas.z.ravel()
    lowest = marks.dome - rng.uniform(150, 185)
    pitch, slope = rng.uniform(24, 31), rng.uniform(60, 95)
    keep = slice(int(np.searchsorted(z, lowest - slope - 20)), len(z))
    if keep.start >= len(z):
        return
    outline = body.cavity_outline
    middle = ((outline.front + outline.back) / 2)[keep, None, None]
    half = np.maximum((outline.back - outline.front) / 2, 1)[keep, None, None]
    width = np.maximum(outline.width, 1)[keep, None, None]
    around = np.arctan2(np.abs(canvas.x) / width, (canvas.y - middle) / half) / np.pi  # 0 at the back, 1 in front
    n = outline.exponent
    ratio = ((np.abs(canvas.x) / width) ** n + (np.abs(canvas.y - middle) / half) ** n) ** (1 / n)
    out_mm = (ratio - 1) * (0.5 * width + 0.5 * half)
    level = (canvas.z[keep] + slope * around - lowest) / pitch
    number = np.round(level)
    across = (level - number) * pitch
    reach = np.clip(0.45 + 0.08 * number, 0, 0.97)
    rib = ((across / 6.0) ** 2 + ((out_mm - 5.0) / 4.5) ** 2 < 1) & (number >= 0) & (around < reach) & (around > 0.08)
    hu = canvas.hu[keep]
    core = (across / 3.6) ** 2 + ((out_mm - 5.0) / 2.4) ** 2 < 1
    hu[rib] = palette.cortical * 0.65
    hu[rib & core] = palette.trabecular
    hu[rib & (around > 0.72)] = rng.uniform(80, 180)
    sternum = (np.abs(canvas.x) < 16) & (np.abs(out_mm - 5) < 5) & (around > 0.8) & (canvas.z[keep] > marks.dome - 15)
    hu[sternum] = palette.trabecular


def _hip_bone(canvas: Canvas, marks: Landmarks, palette: Palette, side: int) -> None:
    """Iliac wing, acetabulum, ischium and pubis of one side round its femoral head."""
    rng = canvas.rng
    head = marks.head(side)
    hz, hy, hx = head[0], head[1], abs(head[2])
    spine = float(np.interp(hz + 90, canvas.z.ravel(), marks.spine_y))
    crest = rng.uniform(112, 135)
    flare = rng.uniform(0.9, 1.12)

    # Iliac wing: a bent plate whose front edge flares outwards and whose back edge meets the sacrum.
    parts: list[tuple[np.ndarray, npt.ArrayLike]] = []
    for up in np.arange(16.0, crest, 5.0):
        t = (up - 16) / (crest - 16)
        open_ = np.sin(min(t * 1.5, 1.0) * np.pi / 2)
        close = 1 - 0.55 * max(0.0, t - 0.75) / 0.25
        front = np.array([hy - 6 - 26 * open_ * close, hx + 2 + 30 * open_ * flare])
        back = np.array([hy + 18 + (spine - 6 - hy) * min(1.0, 1.7 * t), np.interp(t, [0, 0.35, 1], [hx - 14, 58, 52])])
        bulge = np.array([0.5 * (front[0] + back[0]), 0.5 * (front[1] + back[1]) + 10 * open_])
        s = np.linspace(0, 1, 5)[:, None]
        curve = (1 - s) ** 2 * front + 2 * s * (1 - s) * bulge + s ** 2 * back
        points = np.column_stack([np.full(5, hz + up), curve[:, 0], side * curve[:, 1]])
        parts.append((points, np.interp(t, [0, 0.25, 0.6, 1], [11, 7, 5.5, 8]) * np.array([1.1, 0.9, 0.75, 1, 1.2])))
    _bone(canvas, parts, palette, 2.4)

    # Ischium down to its tuber, upper ramus of the pubis, the symphysis, and the lower ramus back to the tuber.
    rami: list[tuple[list[tuple[float, float, float]], list[float]]] = [
        ([(hz + 8, hy + 20, hx - 14), (hz - 22, hy + 30, hx - 20), (hz - 55, hy + 30, hx - 32)], [14, 13, 13]),
        ([(hz + 4, hy - 18, hx - 22), (hz - 4, hy - 30, hx - 45), (hz - 18, hy - 34, 12)], [12, 8, 10]),
        ([(hz - 18, hy - 34, 9), (hz - 36, hy - 30, 9)], [9, 9]),
        ([(hz - 36, hy - 28, 12), (hz - 52, hy - 5, hx - 48), (hz - 58, hy + 24, hx - 34)], [8, 6.5, 9]),
    ]
    branches: list[tuple[np.ndarray, npt.ArrayLike]] = []
    for course, radii in rami:
        points = np.array(course)
        points[:, 2] = side * np.maximum(points[:, 2], 6.0)  # narrow hips must not push a bone across the midline
        branches.append((points, radii))
    _bone(canvas, branches, palette, 2.6)

    # Acetabulum: the part of a thick shell round the head that looks inwards, up, to the front and the back.
    radius = HEAD_RADIUS + rng.uniform(2.5, 4.5)
    reach = radius + 14
    region = canvas.box(head - reach, head + reach)
    z, y, x = canvas.axes(region)
    dz, dy, dx = z - hz, y - hy, (x - head[2]) * side
    distance = np.sqrt(dz ** 2 + dy ** 2 + dx ** 2) + 1e-3
    towards = (0.5 * dz - 0.85 * dx) / distance
    cup = (distance > radius) & (distance < reach - 2 * np.abs(dy) / distance) & (towards > -0.05)
    shell = (distance < radius + 2.5) | (distance > reach - 5)
    hu: Field = canvas.hu[region]
    hu[cup] = palette.trabecular * 1.2
    hu[cup & shell] = palette.cortical * 0.8
    joint = distance <= radius
    hu[joint] = rng.uniform(50, 90)


def paint_vessels(canvas: Canvas, labels: np.ndarray, marks: Landmarks, body: Body, palette: Palette) -> None:
    """Aorta, vena cava, iliac and femoral vessels, then mesenteric and portal branches, nodes and pelvic organs."""
    rng, z = canvas.rng, canvas.z.ravel()
    head = (marks.heads["left"] + marks.heads["right"]) / 2
    hip = (marks.heads["left"][2] - marks.heads["right"][2]) / 2
    split = head[0] + rng.uniform(105, 130)
    levels = np.arange(split, max(z[-1], split) + 15, 15.0)
    ahead = np.interp(levels, z, marks.spine_y)
    calibre, cava = rng.uniform(8, 12.5), rng.uniform(8, 13)
    wiggle = rng.uniform(-5, 5) * np.sin(levels / 35)
    trunk = {"aorta": (np.column_stack([levels, ahead - 19 - calibre, rng.uniform(4, 14) + wiggle]), calibre,
                       palette.aorta, 7.0),
             "cava": (np.column_stack([levels, ahead - 15 - cava, -rng.uniform(15, 23) - wiggle * 0.3]), cava,
                      palette.veins, -7.0)}
    # Each trunk splits into two iliac vessels; the inner branch runs into the pelvis, the outer one to the thigh.
    for centre, radius, value, shift in trunk.values():
        canvas.tube(canvas.hu, centre, radius, value)
        for side in (1, -1):
            path = np.array([centre[0], [split - 40, centre[0][1] + 14, side * 32 + shift],
                             [head[0] + 45, head[1] - 8, side * (hip - 38)],
                             [head[0] + 5, head[1] - 42, side * (hip - 8) - abs(shift) * side],
                             [head[0] - 70, head[1] - 34, side * (hip - 2)]])
            if value == palette.veins:
                path[1:, 1] += 9
            canvas.tube(canvas.hu, path, np.array([0.75, 0.6, 0.55, 0.5, 0.45]) * radius, value)
            inner = np.array([path[1], [head[0] + 40, head[1] + 45, side * (hip - 40)],
                              [head[0] - 5, head[1] + 35, side * (hip - 45)]])
            canvas.tube(canvas.hu, inner, [radius * 0.45, 3.5, 2.5], value)
    if rng.random() < 0.4:  # calcified plaques
        for point in trunk["aorta"][0]:
            spot = point + calibre * np.array([0, *rng.normal(0, 0.55, 2)])
            plaque = np.array([spot, spot + rng.normal(0, 4, 3)])
            canvas.tube(canvas.hu, plaque, rng.uniform(1, 3), rng.uniform(250, 800))
    _pelvic_organs(canvas, labels, head, palette)

    cavity = body.cavity & (canvas.hu < palette.muscle - 40) & (canvas.hu > -300)
    at = np.argwhere(cavity[:, ::2, ::2])
    if not len(at):
        return
    # So many an amount of fat, that a part of a body does not hold all vessels of the whole.
    litres = cavity.sum() * np.prod(canvas.spacing) * 1e-6
    for _ in range(int(litres * rng.uniform(8, 40))):
        start = at[rng.integers(len(at))] * np.array([1, 2, 2]) * canvas.spacing + canvas.origin
        value = rng.choice([palette.aorta, palette.portal_vein, palette.veins, palette.muscle])
        path = canvas.random_path(start, rng.standard_normal(3), 9.0, int(rng.integers(2, 7)), 0.5)
        canvas.tube(canvas.hu, path, np.linspace(rng.uniform(1.5, 5.5), 1.2, len(path)), value, cavity)
    for _ in range(int(litres * rng.uniform(1, 14))):  # nodes, fluid, collapsed loops outside the labels
        centre = at[rng.integers(len(at))] * np.array([1, 2, 2]) * canvas.spacing + canvas.origin
        region, ratio = canvas.ellipsoid(centre, rng.uniform(3, 11, 3))
        canvas.hu[region][(ratio < 1) & cavity[region]] = rng.uniform(0, palette.muscle + 30)
    haze = canvas.noise(rng.uniform(12, 30))
    strength = rng.gamma(1.2, 14.0)
    canvas.hu[cavity] += strength * np.clip(haze[cavity], 0, 2)


def _pelvic_organs(canvas: Canvas, labels: np.ndarray, head: np.ndarray, palette: Palette) -> None:
    """Prostate and seminal vesicles, or uterus and ovaries, between the bladder and the rectum."""
    rng = canvas.rng
    tissue = 40 + 0.4 * (palette.organ["spleen"] - 40) + rng.uniform(-10, 15)
    blobs: list[tuple[npt.ArrayLike, npt.ArrayLike]]
    if rng.random() < 0.5:
        blobs = [([head[0] - 22, head[1] + 2, 0], rng.uniform([15, 14, 19], [24, 22, 28])),
                 ([head[0] + 8, head[1] + 22, 14], [6, 7, 18]), ([head[0] + 8, head[1] + 22, -14], [6, 7, 18])]
    else:
        blobs = [([head[0] + rng.uniform(5, 40), head[1] + 8, rng.uniform(-12, 12)],
                  rng.uniform([20, 18, 22], [38, 32, 42])),
                 ([head[0] - 20, head[1] + 10, 0], [22, 8, 14]),
                 ([head[0] + 38, head[1] + 10, 38], rng.uniform(6, 16, 3)),
                 ([head[0] + 38, head[1] + 10, -38], rng.uniform(6, 16, 3))]
    for centre, radii in blobs:
        region, ratio = canvas.ellipsoid(centre, radii)
        canvas.hu[region][(ratio < 1) & (labels[region] == 0)] = tissue
