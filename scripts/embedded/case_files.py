"""The files of one case of the training set: real, labelled by the teacher, warped, or synthesised.

Each function is one job of `build_embedded_data.py`: it reads and writes files, and its target comes last.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import teacher
from ct_grids import at_spacing, body_box, crop, padded
from points import resample_labels
from scipy import ndimage
from source_cases import NOT_REGISTERED, SourceCase
from warping import register

from PartialOrganSegLib.atomic import whole_file
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from PartialOrganSegLib.formats.strokes import NOT_DRAWN, paint_strokes, read_strokes
from PartialOrganSegLib.formats.writing import write_ct, write_labelmap
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.synthesis.synthetic_ct import synthesise_ct

SPACING_ZYX = (3.0, 2.0, 2.0)
WARP_CHECK_SPACING_ZYX = (4.0, 3.0, 3.0)  # where a registration's Dice is measured
ORGAN_MARGIN_MM = (30.0, 90.0, 60.0)  # z, y, x around a WORD map's organs, where the synthetic body has to fit

# In a warped label map, strokes lie as this plus the organ's number (0: background): label_map can then name them.
STROKE_VALUES = 100
STROKE_MAP = {STROKE_VALUES: ["background"]}
STROKE_MAP |= {STROKE_VALUES + number: [name] for number, name in enumerate(WORD16.names, start=1)}


def image_file(stem: Path) -> Path:
    """`stem`_image.nii.gz."""
    return stem.with_name(f"{stem.name}_image.nii.gz")


def label_file(stem: Path) -> Path:
    """`stem`_label.nii.gz."""
    return stem.with_name(f"{stem.name}_label.nii.gz")


def dice_file(stem: Path) -> Path:
    """`stem`_dice.json, a warp's last file."""
    return stem.with_name(f"{stem.name}_dice.json")


def make_real(case: SourceCase, target: Path) -> None:
    """`target`_image and, of a labelled case, `target`_label: resampled, cropped to the body, numbered as ours.

    Organs that the case does not vouch for become 0, which says the same: anything that is not annotated.
    """
    ct = at_spacing(read_ct(case.image), SPACING_ZYX)
    ct = crop(ct, body_box(ct))
    if case.label is not None:
        labels = read_labelmap(case.label)
        table = np.zeros(256, np.uint8)
        numbers = case.convert or {number: number for number in range(1, WORD16.class_count)}
        for value, ours in numbers.items():
            if ours in case.label_map or WORD16.names[ours - 1] in case.annotated:
                table[value] = ours
        labels = Volume(table[labels.array], labels.grid)
        write_labelmap(label_file(target), resample_labels(labels, ct.grid))
    write_ct(image_file(target), ct)  # last: the job is done where it is there


def make_teacher_labels(image: Path, model: Path, real: Path, trusted: list[str], target: Path) -> None:
    """The teacher's labels of the `trusted` organs on the grid of the resampled image `real`."""
    ct = at_spacing(read_ct(image), teacher.SPACING_ZYX)
    ct = crop(ct, body_box(ct))
    # At the spacing that the teacher was trained at, and only then on the grid of ours.
    labels = teacher.segment(model, ct.array)
    labels[~np.isin(labels, WORD16.indices(trusted))] = 0
    write_labelmap(target, resample_labels(Volume(labels, ct.grid), read_ct(real).grid))


def make_anatomy(label: Path, target: Path) -> None:
    """A WORD map at our spacing, cropped around its organs."""
    labels = read_labelmap(label).canonical()
    grid = labels.grid  # a CT is painted onto the voxels' own axes, so a tilt of the scanner's bed is of no interest
    labels = Volume(labels.array, Grid(grid.size, grid.spacing, grid.origin))
    organs = ndimage.find_objects((labels.array > 0).astype(np.uint8))[0]
    labels = crop(labels, padded(organs, labels, ORGAN_MARGIN_MM))
    step_z, step_y, step_x = SPACING_ZYX
    step = np.array([step_x, step_y, step_z])
    extent = (np.asarray(labels.grid.size) - 1) * np.asarray(labels.grid.spacing)
    width, height, depth = (int(size) for size in np.floor(extent / step + 1e-6) + 1)
    smaller = Grid((width, height, depth), (step_x, step_y, step_z), labels.grid.origin)
    write_labelmap(target, resample_labels(labels, smaller))


def with_strokes(labels: Volume, strokes: Path) -> Volume:
    """`labels` with the strokes painted over them, as STROKE_VALUES + organ."""
    drawn = paint_strokes(read_strokes(strokes), labels.grid, WORD16).array
    return Volume(np.where(drawn == NOT_DRAWN, labels.array, drawn + STROKE_VALUES).astype(np.uint8), labels.grid)


def make_warp(real: Path, anatomy: Path, organs: list[str], strokes: Path, strength: float, target: Path) -> None:
    """`real`_image, _label and `strokes` (where they exist) warped onto `anatomy`.

    The registration's Dice per organ goes to `target`_dice.json.
    """
    ct, labels = read_ct(image_file(real)), read_labelmap(label_file(real))
    fixed = read_labelmap(anatomy)
    matched = [WORD16.index(organ) for organ in organs if organ not in NOT_REGISTERED]
    warp = register(labels, fixed, matched)
    _, warped = warp.apply(ct, labels, WARP_CHECK_SPACING_ZYX)
    aim = warp.target(fixed, warped.grid)
    dice = {}
    for index in matched:
        ours, theirs = warped.array == index, aim.array == index
        if ours.any() and theirs.any():
            overlap = 2 * float((ours & theirs).sum()) / float(ours.sum() + theirs.sum())
            dice[WORD16.organs[index - 1].name] = round(overlap, 3)
    # Strokes are warped with the labels they lie on, so that both stay true to the image.
    drawn = labels
    if strokes.exists():
        drawn = with_strokes(labels, strokes)
    image, mask = warp.apply(ct, drawn, SPACING_ZYX, strength)
    box = body_box(image)
    write_labelmap(label_file(target), crop(mask, box))
    write_ct(image_file(target), crop(image, box))
    facts = {"strength": round(strength, 3), "dice": dice,
             "lowest_jacobian": round(float(warp.jacobian(strength).min()), 3)}
    with whole_file(dice_file(target)) as temporary:
        temporary.write_text(json.dumps(facts), encoding="utf-8")


def make_synthetic(anatomy: Path, seed: list[int], target: Path) -> None:
    """`target`_image synthesised from a WORD map and the map itself."""
    labels = read_labelmap(anatomy)
    image = synthesise_ct(labels, np.random.default_rng(seed), WORD16)
    box = body_box(image)
    write_labelmap(label_file(target), crop(labels, box))
    write_ct(image_file(target), crop(image, box))
