"""The preview shows the patient as a radiologist expects: not squeezed, right side on the left, organs outlined."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from PartialOrganSegLib.formats.preview import write_preview
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import WORD16

LIVER, SPLEEN, BLADDER = (np.array(WORD16.organ(name).colour) for name in ("liver", "spleen", "bladder"))


def patient(spacing: tuple[float, float, float] = (2.0, 2.0, 4.0)) -> tuple[Volume, Volume]:
    """A body of 300 x 200 x 240 mm in air: liver right and high, spleen left and high, bladder low in front."""
    size = tuple(round(mm / s) for mm, s in zip((340, 240, 240), spacing, strict=True))
    grid = Grid(size, spacing, (-170.0, -120.0, -500.0))
    z, y, x = (np.moveaxis(np.indices(grid.shape), 0, -1) * np.array(spacing)[::-1]).transpose(3, 0, 1, 2)
    inside = (np.abs(x - 170) < 150) & (np.abs(y - 120) < 100)
    ct = np.where(inside, 30, -1000).astype(np.int16)
    labels = np.zeros(grid.shape, np.uint8)
    labels[((x - 90) ** 2 + (y - 110) ** 2 < 50 ** 2) & (z > 140) & (z < 220)] = 1
    labels[((x - 260) ** 2 + (y - 130) ** 2 < 25 ** 2) & (z > 150) & (z < 210)] = 2
    labels[((x - 170) ** 2 + (y - 80) ** 2 < 30 ** 2) & (z > 20) & (z < 60)] = 14
    return Volume(ct, grid), Volume(labels, grid)


def draw(path: Path, ct: Volume, labels: Volume) -> np.ndarray:
    write_preview(path, ct, labels, WORD16)
    image = Image.open(path)
    assert image.format == "PNG"
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def where(picture: np.ndarray, colour: np.ndarray, rows: slice = slice(None),
          columns: slice = slice(None)) -> np.ndarray:
    """(n, 2) rows and columns of the pixels that are of a colour."""
    return np.argwhere(np.abs(picture[rows, columns] - colour).max(axis=2) < 12)


def axial(picture: np.ndarray) -> np.ndarray:
    """The first panel: what lies left of the first gap in the page's colour."""
    # Rows 40 to 60 cross all panels below their titles.
    paper = (picture[40:60] == picture[0, 0]).all(axis=(0, 2))
    first_column = int(np.argmin(paper))
    return picture[14:, first_column:first_column + int(np.argmax(paper[first_column:]))]


def test_right_is_left_and_nothing_is_squeezed(tmp_path: Path) -> None:
    panel = axial(draw(tmp_path / "Übersicht 1.png", *patient()))
    top = panel[:int(0.75 * panel.shape[1])]
    # Radiologists look from the feet: the patient's right is on the picture's left.
    liver, spleen = where(top, LIVER), where(top, SPLEEN)
    assert liver[:, 1].max() < top.shape[1] / 2 < spleen[:, 1].min()
    height, width = np.ptp(liver, axis=0)
    assert height == pytest.approx(width, rel=0.06)
    # Discs of 50 and 25 mm radius.
    assert np.ptp(spleen, axis=0)[1] == pytest.approx(width / 2, rel=0.12)


def test_coronal_and_sagittal_have_superior_up_and_anterior_left(tmp_path: Path) -> None:
    """The axial slice shows liver and spleen, so the bladder is in the other planes or only in the legend."""
    ct, labels = patient()
    only = Volume(np.where(labels.array == 14, np.uint8(14), np.uint8(0)), labels.grid)
    picture = draw(tmp_path / "a.png", ct, only)
    width = picture.shape[1]
    sagittal = where(picture, BLADDER, columns=slice(int(0.72 * width), width))
    assert np.median(sagittal[:, 1]) < 0.28 * width / 2
    image_rows = slice(0, 14 + round(240 * 1560 / (324 + 324 + 224)))
    coronal = where(picture, BLADDER, image_rows, slice(int(0.38 * width), int(0.72 * width)))
    assert np.median(coronal[:, 0]) > image_rows.stop * 0.6


@pytest.mark.parametrize("direction", [(-1, 0, 0, 0, -1, 0, 0, 0, 1), (1, 0, 0, 0, 0, 1, 0, -1, 0),
                                       (0, 0, -1, 1, 0, 0, 0, -1, 0)])
def test_any_orientation_gives_the_same_picture(tmp_path: Path, direction: tuple) -> None:
    """The same patient, voxels listed in another order."""
    ct, labels = patient()
    expected = draw(tmp_path / "a.png", ct, labels)
    order = Grid((2, 2, 2), (1.0, 1.0, 1.0), direction=direction).axis_order()
    turned = []
    for volume in (ct, labels):
        array = order.from_canonical(volume.array)
        spacing = [0.0, 0.0, 0.0]
        for world, voxel in enumerate(order.permutation):
            spacing[voxel] = volume.grid.spacing[world]
        free = Grid(array.shape[::-1], tuple(spacing), (0.0, 0.0, 0.0), tuple(float(d) for d in direction))
        shift = np.subtract(volume.grid.origin, order.canonical_grid(free).origin)
        turned.append(Volume(array, Grid(free.size, free.spacing, tuple(float(s) for s in shift), free.direction)))
    np.testing.assert_array_equal(draw(tmp_path / "b.png", *turned), expected)


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 40.0), (1.5, 1.5, 1.5), (5.0, 5.0, 5.0)])
def test_thick_slices_keep_proportions(tmp_path: Path, spacing: tuple) -> None:
    picture = draw(tmp_path / "a.png", *patient(spacing))
    assert 1500 < picture.shape[1] < 1700
    assert 380 < picture.shape[0] < 620


def test_empty_segmentation_and_oblique_grid(tmp_path: Path) -> None:
    ct, labels = patient()
    empty = Volume(np.zeros_like(labels.array), labels.grid)
    assert len(where(draw(tmp_path / "a.png", ct, empty), LIVER)) == 0
    tilted = Grid(ct.grid.size, ct.grid.spacing, ct.grid.origin, (0.96, -0.28, 0, 0.28, 0.96, 0, 0, 0, 1))
    picture = draw(tmp_path / "b.png", Volume(ct.array, tilted), Volume(labels.array, tilted))
    assert len(where(picture, LIVER)) > 500


def test_tiny_and_air_only_volumes(tmp_path: Path) -> None:
    grid = Grid((3, 4, 2), (2.0, 2.0, 5.0))
    array = np.full(grid.shape, -1000, np.int16)
    picture = draw(tmp_path / "a.png", Volume(array, grid), Volume(np.ones(grid.shape, np.uint8), grid))
    assert picture.shape[1] >= 270


def test_whole_body_scan_shows_the_part_with_organs(tmp_path: Path) -> None:
    ct, labels = patient((4.0, 4.0, 4.0))
    tall = np.concatenate([np.repeat(ct.array[:1], 400, axis=0), ct.array])
    organs = np.concatenate([np.zeros((400, *labels.array.shape[1:]), np.uint8), labels.array])
    grid = Grid((*ct.grid.size[:2], len(tall)), ct.grid.spacing)
    picture = draw(tmp_path / "a.png", Volume(tall, grid), Volume(organs, grid))
    # 400 slices of legs would make the abdomen a stripe.
    assert picture.shape[0] < 1400
    assert len(where(picture, LIVER)) > 500


def test_different_grids_are_refused(tmp_path: Path) -> None:
    ct, labels = patient()
    with pytest.raises(ValueError, match="one grid"):
        write_preview(tmp_path / "a.png", ct, Volume(labels.array[1:], Grid((*ct.grid.size[:2], ct.grid.size[2] - 1),
                                                                          ct.grid.spacing)), WORD16)
