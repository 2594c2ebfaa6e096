"""How the inside of each organ looks: parenchyma with vessels and lesions, hollow organs with wall and contents."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from .canvas import Canvas, Field, Mask, Region, depth_inside
from .landmarks import Landmarks
from .tissues import Palette

# Coarse and fine noise in an organ's box.
Texture: TypeAlias = tuple[Field, Field]

# Chances of what fills a stretch of a hollow organ: gas over fluid, fluid, faeces or food, collapsed; the share of
# oral contrast is drawn for the whole scan.
CONTENTS = {
    "stomach": {"level": 0.5, "fluid": 0.2, "mash": 0.2, "collapsed": 0.1},
    "duodenum": {"level": 0.15, "fluid": 0.4, "mash": 0.05, "collapsed": 0.4},
    "intestine": {"level": 0.1, "fluid": 0.5, "mash": 0.05, "collapsed": 0.35},
    "colon": {"level": 0.33, "fluid": 0.1, "mash": 0.42, "collapsed": 0.15},
    "rectum": {"level": 0.25, "fluid": 0.1, "mash": 0.35, "collapsed": 0.3},
    "esophagus": {"level": 0.2, "fluid": 0.05, "mash": 0.0, "collapsed": 0.75},
}
STRETCH_MM = {"stomach": 200.0, "duodenum": 40.0, "intestine": 55.0, "colon": 60.0, "rectum": 60.0, "esophagus": 60.0}
WALL_MM = {"stomach": (2.0, 6.0), "duodenum": (1.2, 3.0), "intestine": (1.0, 2.8), "colon": (1.0, 3.0),
           "rectum": (2.0, 6.0), "esophagus": (3.0, 6.0)}


def paint_organs(canvas: Canvas, labels: np.ndarray, names: dict[int, str], marks: Landmarks,
                 palette: Palette) -> None:
    """Paints every organ of a label map (z, y, x) over the canvas; organs it has no recipe for become soft tissue."""
    coarse, fine = canvas.noise(canvas.rng.uniform(14, 30)), canvas.noise(canvas.rng.uniform(5, 8))
    for value, box in enumerate(ndimage.find_objects(labels), 1):
        if box is None:
            continue
        # A voxel of margin keeps the distance to the organ's surface right at the box's sides.
        z, y, x = (slice(max(part.start - 1, 0), min(part.stop + 1, size))
                   for part, size in zip(box, labels.shape, strict=True))
        region = (z, y, x)
        mask, name = labels[region] == value, names.get(value, "")
        texture = (coarse[region], fine[region])
        if name in CONTENTS:
            _hollow(canvas, region, mask, name, palette, texture)
        elif name.startswith("head_of_"):
            side = 1 if "left" in name else -1
            _femur(canvas, labels, value, marks.head(side), palette, fine)
        elif name in ("gallbladder", "bladder"):
            _sac(canvas, region, mask, name, palette, texture)
        else:
            _solid(canvas, region, mask, name, palette, texture)


def _solid(canvas: Canvas, region: Region, mask: Mask, name: str, palette: Palette, texture: Texture) -> None:
    """Parenchyma with its grain; vessels and lesions where the organ has them."""
    rng, hu = canvas.rng, canvas.hu[region]
    coarse, fine = texture
    if name.endswith("kidney"):
        _kidney(canvas, region, mask, palette, texture)
        return
    mean = palette.organ.get(name, palette.muscle)
    rough = {"pancreas": rng.uniform(4, 16), "adrenal": 4.0, "spleen": 3.0}.get(name, rng.uniform(1, 5))
    field = mean + rough * fine + rng.uniform(1, 5) * coarse
    if name == "spleen" and palette.phase == "arterial":
        field += rng.uniform(5, 35) * fine
    if name == "pancreas":  # lobules with fat between them
        field += np.where(fine < -1.1, -rng.uniform(0, 60), 0)
    hu[mask] = field[mask]
    organ = _on_canvas(canvas, region, mask)
    if name == "liver":
        _liver_vessels(canvas, organ, region, mask, mean, palette)
        _lesions(canvas, organ, region, mask, mean, 0.4)
    elif name == "spleen":
        _lesions(canvas, organ, region, mask, mean, 0.08)


def _on_canvas(canvas: Canvas, region: Region, mask: Mask) -> Mask:
    """A mask in a box as one over the canvas, for strokes that are not cut to the box."""
    organ = np.zeros(canvas.shape, bool)
    organ[region] = mask
    return organ


def _points_in(canvas: Canvas, region: Region, mask: Mask, count: int) -> npt.NDArray[np.float64]:
    """(count, 3) mm of random voxels of a mask in a box."""
    at = np.argwhere(mask)
    chosen = at[canvas.rng.integers(0, len(at), count)] + [part.start for part in region]
    points: npt.NDArray[np.float64] = chosen * np.array(canvas.spacing) + canvas.origin
    return points


def _liver_vessels(canvas: Canvas, organ: Mask, region: Region, mask: Mask, mean: float, palette: Palette) -> None:
    """Branches of the portal vein and the hepatic veins by turns, from their two roots to random ends."""
    rng = canvas.rng
    ends = _points_in(canvas, region, mask, int(rng.integers(10, 26)))
    middle = ends.mean(axis=0)
    roots = middle + np.array([[-20, 15, 25], [35, 25, 30]]) + rng.normal(0, 5, (2, 3))
    blood = (palette.portal_vein, palette.veins)
    for k, end in enumerate(ends):
        root = roots[k % 2]
        value = blood[k % 2]
        # Without contrast, vessels stand out dark; only in a fatty liver are they the brighter part.
        if palette.phase == "plain" and mean > 25:
            value = min(value, mean + 10)
        s = np.linspace(0, 1, 6)[:, None]
        path = root * (1 - s) + end * s + rng.normal(0, 5, (6, 3)) * np.sin(np.pi * s)
        canvas.tube(canvas.hu, path, np.linspace(rng.uniform(3, 6.5), 1.3, 6), value, organ)


def _lesions(canvas: Canvas, organ: Mask, region: Region, mask: Mask, mean: float, chance: float) -> None:
    """With that chance one to five lesions: hypodense, enhancing, or cysts (5 HU)."""
    rng = canvas.rng
    if rng.random() > chance:
        return
    wobble = canvas.noise(18.0)
    for centre in _points_in(canvas, region, mask, int(rng.integers(1, 6))):
        radii = np.exp(rng.uniform(np.log(4), np.log(45))) * rng.uniform(0.7, 1.3, 3)
        box, ratio = canvas.ellipsoid(centre, radii)
        inside = (ratio + 0.15 * wobble[box] < 0.8) & organ[box]
        shift = rng.choice([-rng.uniform(15, 70), rng.uniform(10, 40), 5 - mean], p=[0.65, 0.15, 0.2])
        canvas.hu[box][inside] += shift
        rim = (ratio < 0.25) & inside  # necrotic middle
        canvas.hu[box][rim] -= rng.uniform(0, 25)


def _kidney(canvas: Canvas, region: Region, mask: Mask, palette: Palette, texture: Texture) -> None:
    """Cortex, medullary pyramids and the renal sinus, which opens to the midline."""
    rng, hu = canvas.rng, canvas.hu[region]
    coarse, fine = texture
    depth = depth_inside(mask, canvas.spacing)
    field = np.where(depth < rng.uniform(5, 9) + 2 * fine, palette.cortex, palette.medulla)
    field = field + 3 * coarse
    medial = np.abs(canvas.axes(region)[2])
    at = medial * np.ones_like(depth)
    deep = depth > rng.uniform(9, 14) + 2 * coarse
    sinus = deep & (at < np.median(at[mask]) + rng.uniform(-4, 6))
    field[sinus] = rng.uniform(-70, 20)
    field[sinus & (fine > rng.uniform(-0.3, 0.8))] = palette.renal_pelvis
    hu[mask] = field[mask]
    if rng.random() < 0.25:  # cysts
        organ = _on_canvas(canvas, region, mask)
        for centre in _points_in(canvas, region, mask, int(rng.integers(1, 3))):
            box, ratio = canvas.ellipsoid(centre, np.full(3, rng.uniform(5, 18)))
            canvas.hu[box][(ratio < 1) & organ[box]] = rng.uniform(-3, 20)


def _sac(canvas: Canvas, region: Region, mask: Mask, name: str, palette: Palette, texture: Texture) -> None:
    """Gallbladder or urinary bladder: thin wall, fluid, sometimes stones or contrast that settles at the back."""
    rng, hu = canvas.rng, canvas.hu[region]
    depth = depth_inside(mask, canvas.spacing)
    y = canvas.axes(region)[1] * np.ones_like(depth)
    low, high = np.percentile(y[mask], [2, 98])
    height = (y - low) / max(high - low, 1.0)  # 0 in front, 1 at the back where heavy things settle
    fluid = np.clip(palette.organ[name], -10, 30) + 2 * texture[0]
    if name == "bladder":
        wall, wall_hu = rng.uniform(1.5, 5.0), palette.organ["rectum"] * 0.8 + rng.uniform(-5, 15)
        if palette.phase == "delayed" or rng.random() < 0.12:
            surface = rng.uniform(0.2, 1.1) + 0.05 * texture[0]
            fluid = fluid + np.where(height > surface, rng.uniform(80, 900), rng.uniform(0, 60))
    else:
        wall, wall_hu = rng.uniform(0.8, 2.5), palette.organ["duodenum"] * 0.6
        if rng.random() < 0.08:
            fluid = fluid + rng.uniform(20, 90)
    field = np.where(depth <= wall, wall_hu, fluid)
    if name == "gallbladder" and rng.random() < 0.15:
        field[(height > rng.uniform(0.6, 0.85)) & (texture[1] > 0) & (depth > wall)] = rng.uniform(60, 500)
    hu[mask] = field[mask]


def _hollow(canvas: Canvas, region: Region, mask: Mask, name: str, palette: Palette, texture: Texture) -> None:
    """Wall, and contents that change from stretch to stretch; gas collects at the front, under the belly wall."""
    rng, hu = canvas.rng, canvas.hu[region]
    coarse, fine = texture
    wall_hu = palette.organ[name] + rng.uniform(-10, 15)
    depth = depth_inside(mask, canvas.spacing)
    hu[mask] = wall_hu + 4 * fine[mask]
    wall = max(rng.uniform(*WALL_MM[name]), 0.6 * min(canvas.spacing))
    lumen = depth > wall
    if name == "stomach":  # rugal folds
        lumen = depth > wall + 1.5 * np.clip(fine, -1, 2)
    at = np.argwhere(mask & lumen)
    if not len(at):
        return
    # Stretches are what lies nearest to one of the seeds; each has contents of its own.
    mm = at * np.array(canvas.spacing)
    seeds = mm[rng.integers(0, len(mm), max(1, round(len(mm) * np.prod(canvas.spacing) / STRETCH_MM[name] ** 3 * 8)))]
    owner = cKDTree(seeds).query(mm, workers=1)[1]
    kinds = rng.choice(list(CONTENTS[name]), size=len(seeds), p=list(CONTENTS[name].values()))
    oral = palette.oral_contrast
    order = np.argsort(owner, kind="stable")
    for k, members in enumerate(np.split(order, np.searchsorted(owner[order], np.arange(1, len(seeds))))):
        if not len(members) or kinds[k] == "collapsed":
            continue
        inside = tuple(at[members].T)
        stain = None
        if oral is not None and rng.random() < 0.6:
            stain = oral * rng.uniform(0.6, 1.2)
            fluid = stain
        else:
            fluid = rng.uniform(-5, 35)
        if kinds[k] == "mash":
            value = _mash(rng, fine[inside], coarse[inside], name, stain)
        else:
            value = fluid + rng.uniform(2, 8) * fine[inside]
            if kinds[k] == "level":
                share = _gas_share(rng, name)
                surface = np.quantile(mm[members, 1], share)
                value[mm[members, 1] <= surface] = rng.uniform(-1000, -930)
        hu[inside] = value


def _gas_share(rng: np.random.Generator, name: str) -> float:
    """How much of a stretch with a fluid level is gas; a colon is fuller of it."""
    if name == "colon":
        return rng.beta(1.6, 1.0)
    return rng.uniform(0.1, 0.9)


def _mash(rng: np.random.Generator, fine: Field, coarse: Field, name: str, oral: float | None) -> Field:
    """Food or faeces: mottled soft tissue and fat with small gas bubbles, stained by oral contrast if any."""
    value = rng.uniform(-20, 60) + rng.uniform(10, 45) * fine + rng.uniform(0, 15) * coarse
    if oral is not None:
        value += oral * np.clip(0.5 + 0.3 * coarse, 0, 1)
    speckle = rng.standard_normal(fine.shape) + 1.2 * fine
    lower, upper = (0.6, 2.4) if name in ("colon", "rectum") else (1.6, 3.5)
    cut = rng.uniform(lower, upper)  # standard deviations; what exceeds them is gas
    value[speckle > cut] -= rng.uniform(150, 800)
    return value


def _femur(canvas: Canvas, labels: np.ndarray, value: int, head: np.ndarray, palette: Palette,
           fine: Field) -> None:
    """Head from the label, joined to a neck, trochanter and shaft: one cortical shell goes round all of it."""
    side = np.sign(head[2])
    region = canvas.box(head - np.array([330, 70, 90]), head + np.array([45, 70, 90]))
    mask = labels[region] == value
    bone = np.zeros(canvas.shape, bool)
    bone[region] = mask
    z, y, x = head
    turn = canvas.rng.uniform(-4, 10)
    neck = np.array([[z, y, x], [z - 14, y + 2 + turn / 3, x + side * 22], [z - 30, y + turn, x + side * 42],
                     [z - 58, y + turn, x + side * 38], [z - 95, y + turn - 4, x + side * 32],
                     [z - 320, y + turn - 12, x + side * 4]])
    canvas.tube(bone, neck, [19, 14, 17, 16, 13.5, 13], True, labels == 0)
    trochanter = np.array([neck[2] + [14, 6, 2 * side], neck[2]])
    canvas.tube(bone, trochanter, [10, 14], True, labels == 0)
    # The closing fills the seam between label and tube; where the bone is thick the shell is, too: down at the shaft.
    solid = ndimage.binary_closing(bone[region], iterations=1) & ((labels[region] == 0) | mask) | mask
    depth = depth_inside(solid, canvas.spacing)
    zz = canvas.axes(region)[0]
    shaft = np.clip((z - 50 - zz) / 50, 0, 1)
    shell = 1.8 + 4.5 * shaft
    marrow = palette.trabecular * 1.25 * (1 - shaft) - 40 * shaft
    hub = np.exp(-((zz - z) ** 2 + (canvas.axes(region)[1] - y) ** 2
                   + (canvas.axes(region)[2] - x) ** 2) / (2 * 16.0 ** 2))
    inside = marrow + 90 * hub + 30 * fine[region] * (1 - shaft)
    rim = np.where(shaft > 0.3, palette.cortical * 1.6, palette.cortical * 0.75)
    field = np.where(depth <= np.maximum(shell, 0.6 * min(canvas.spacing)), rim, inside)
    hu = canvas.hu[region]
    hu[solid] = field[solid]
