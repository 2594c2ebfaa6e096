"""Phantoms as nnU-Net raw datasets, for the comparison with nnU-Net itself."""

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.synthesis.phantom import make_phantom

# What the shortly trained networks tell apart; the other organs are one class.
PEER_LABELS = {"background": 0, "liver": 1, "spleen": 2, "kidney_left": 3, "kidney_right": 4, "other": 5}
_OURS = {"liver": 1, "spleen": 2, "left_kidney": 3, "right_kidney": 4}
SHAPE_MM = (420.0, 260.0, 380.0)


def phantom_images(seed: int, spacing_zyx: tuple[float, float, float]) -> tuple[sitk.Image, sitk.Image]:
    """A CT and its labels as `PEER_LABELS` says, on LPS axes."""
    shape = tuple(round(mm / spacing) for mm, spacing in zip(SHAPE_MM, spacing_zyx, strict=True))
    ct, labels = make_phantom(shape, spacing_zyx, seed)
    table = np.array([0, *(_OURS.get(organ.name, 5) for organ in WORD16.organs)], np.uint8)
    images = []
    for array in (ct.array, table[labels.array]):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(ct.grid.spacing)
        image.SetOrigin(ct.grid.origin)
        images.append(image)
    return images[0], images[1]


def turned(image: sitk.Image, order: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> sitk.Image:
    """The same voxels at the same places, listed in another order: direction is no longer the identity."""
    return sitk.Flip(sitk.PermuteAxes(image, order), flips, False)


def write_dataset(raw: Path, number: int, reader: str, spacing_zyx: tuple[float, float, float], cases: int = 3) -> None:
    """`raw/DatasetXXX_phantoms`, its files with axes to the right, anterior and superior (RAS), as most NIfTIs."""
    folder = raw / f"Dataset{number:03d}_phantoms"
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for seed in range(cases):
        images = phantom_images(seed, spacing_zyx)
        for image, part, end in zip(images, ("imagesTr", "labelsTr"), ("_0000", ""), strict=True):
            sitk.WriteImage(turned(image, (0, 1, 2), (True, True, False)), folder / part / f"case_{seed}{end}.nii.gz")
    (folder / "dataset.json").write_text(json.dumps({
        "channel_names": {"0": "CT"}, "labels": PEER_LABELS, "numTraining": cases, "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": reader}))
