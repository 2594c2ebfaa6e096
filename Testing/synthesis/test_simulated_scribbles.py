"""Simulated scribbles: true to the masks, sparse, every organ drawn, and drawn as a hand would."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from PartialOrganSegLib.annotation import CandidateTable, Kind
from PartialOrganSegLib.cli import main
from PartialOrganSegLib.datasets.case import Case
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import SHI5, WORD16
from PartialOrganSegLib.synthesis.phantom import make_phantom
from PartialOrganSegLib.synthesis.scribble_paths import border_path, depth_of, medial_path, painted
from PartialOrganSegLib.synthesis.simulated_scribbles import MAXIMUM_SHARE, simulate_scribble
from Testing.helpers.training_data import write_image

NOT_DRAWN = 255


@pytest.fixture(scope="module")
def phantom() -> Volume:
    return make_phantom((60, 72, 96), (5.0, 4.0, 4.0), 1)[1]


def blobs(seed: int, shape: tuple[int, int, int], organs: int, empty: float) -> Volume:
    """Smooth random regions of a few organs, some of which may be absent; axes and spacing vary with the seed."""
    generator = np.random.default_rng(seed)
    scores = ndimage.gaussian_filter(generator.normal(size=(organs + 1, *shape)), (0, 1.5, 1.5, 1.5))
    scores[0] += empty * scores.std()
    direction = np.eye(3)[generator.permutation(3)] * generator.choice([-1, 1], 3)
    grid = Grid(shape[::-1], tuple(generator.uniform(0.6, 5, 3)), (0.0, 0.0, 0.0), tuple(direction.ravel()))
    return Volume(scores.argmax(0).astype(np.uint8), grid)


@settings(max_examples=12)
@given(st.integers(0, 10 ** 6), st.tuples(*[st.integers(6, 24)] * 3), st.integers(1, 16), st.floats(-1, 3))
def test_scribbles_are_true_complete_sparse_and_repeatable(seed, shape, organs, empty):
    labels = blobs(seed, shape, organs, empty)
    present = set(np.unique(labels.array)) - {0}
    if not present:
        with pytest.raises(UserError, match="found none"):
            simulate_scribble(labels, WORD16, seed=seed)
        return
    scribble = simulate_scribble(labels, WORD16, seed=seed)
    drawn = scribble.labels.array != NOT_DRAWN
    assert scribble.labels.grid == labels.grid
    assert (scribble.labels.array[drawn] == labels.array[drawn]).all()
    assert set(np.unique(scribble.labels.array)) - {0, NOT_DRAWN} == present
    # One voxel an organ is the least that can be drawn, however small the organs are.
    assert drawn.sum() <= max(MAXIMUM_SHARE * (labels.array > 0).sum(), len(present))
    assert scribble.share == drawn.sum() / (labels.array > 0).sum()
    # The seed decides: a study can be repeated by others.
    assert np.array_equal(scribble.labels.array, simulate_scribble(labels, WORD16, seed=seed).labels.array)


def test_counts_say_what_is_drawn(phantom):
    scribble = simulate_scribble(phantom, WORD16, seed=2)
    assert scribble.counts[-1].name == "background"
    for count in scribble.counts:
        index = WORD16.index(count.name)
        drawn = scribble.labels.array == index
        assert count.voxels == drawn.sum()
        assert count.slices == drawn.any(axis=(1, 2)).sum() <= count.strokes
        assert count.of_voxels == (0 if index == 0 else (phantom.array == index).sum())
    assert scribble.share < MAXIMUM_SHARE


def test_another_seed_draws_other_strokes(phantom):
    first, second = (simulate_scribble(phantom, WORD16, slices_per_organ=1, seed=seed).labels.array for seed in (0, 1))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("direction", [[(0, 1, 0), (0, 0, 1), (1, 0, 0)], [(-1, 0, 0), (0, 0, -1), (0, 1, 0)]])
def test_slices_are_the_patients_axial_ones_in_any_orientation(phantom, direction):
    """A stored axis order changes nothing: the same voxels of the patient are drawn."""
    image = sitk.GetImageFromArray(phantom.array)
    image.SetSpacing(phantom.grid.spacing)
    image.SetOrigin(phantom.grid.origin)
    # SimpleITK re-orders the axes, so that the test does not rest on our own code for it.
    order = [int(np.flatnonzero(row)[0]) for row in direction]
    turned = sitk.Flip(sitk.PermuteAxes(image, order), [min(row) < 0 for row in direction])
    grid = Grid(turned.GetSize(), turned.GetSpacing(), turned.GetOrigin(), turned.GetDirection())
    turned_labels = Volume(sitk.GetArrayFromImage(turned), grid)
    scribble = simulate_scribble(turned_labels, WORD16, slices_per_organ=2, seed=4).labels
    straight = simulate_scribble(phantom, WORD16, slices_per_organ=2, seed=4).labels
    assert np.array_equal(scribble.canonical().array, straight.array)


def test_strokes_are_sparse_within_and_between_slices(phantom):
    drawn = simulate_scribble(phantom, WORD16, slices_per_organ=3, seed=0).labels.array
    for organ in (1, 5, 11):  # liver, stomach, intestine
        mask = phantom.array == organ
        slices = np.flatnonzero((drawn == organ).any(axis=(1, 2)))
        assert 1 <= len(slices) <= 3
        assert len(slices) < mask.any(axis=(1, 2)).sum() / 2
        # A stroke that filled half of a slice would be a mask.
        assert all((drawn[z] == organ).sum() < mask[z].sum() / 2 for z in slices)


def test_slices_at_a_distance_are_shared_by_the_organs(phantom):
    drawn = simulate_scribble(phantom, WORD16, every_mm=30.0, background=False, seed=0).labels.array
    slices_of = [set(np.flatnonzero((drawn == organ).any(axis=(1, 2)))) for organ in (1, 3, 10, 11)]
    slices = sorted(set().union(*slices_of))
    assert set(np.diff(slices)) == {6}  # 30 mm of 5 mm slices
    assert any(a & b for number, a in enumerate(slices_of) for b in slices_of[:number])


def test_many_wide_strokes_stay_below_the_limit(phantom):
    scribble = simulate_scribble(phantom, WORD16, slices_per_organ=15, brush_mm=12.0)
    assert 0.9 * MAXIMUM_SHARE < scribble.share < MAXIMUM_SHARE
    assert all(count.voxels for count in scribble.counts)


def test_only_chosen_organs_are_drawn_and_background_keeps_off_all_organs(phantom):
    scribble = simulate_scribble(phantom, WORD16, organs=["spleen", "bladder"], slices_per_organ=20, seed=1)
    values = set(np.unique(scribble.labels.array))
    assert values == {0, 2, 14, NOT_DRAWN} if (phantom.array == 14).any() else {0, 2, NOT_DRAWN}
    assert not (phantom.array[scribble.labels.array == 0]).any()
    without = simulate_scribble(phantom, WORD16, slices_per_organ=1, background=False)
    assert not (without.labels.array == 0).any()
    assert "background" not in [count.name for count in without.counts]


def test_background_is_drawn_near_the_organs_and_far_from_them():
    labels = np.zeros((5, 200, 200), np.uint8)
    labels[:, 80:120, 80:120] = 1
    grid = Grid(labels.shape[::-1], (1.0, 1.0, 3.0))
    drawn = simulate_scribble(Volume(labels, grid), WORD16, slices_per_organ=5, seed=3).labels.array
    distance = ndimage.distance_transform_edt(labels[0] == 0)
    of_background = np.concatenate([distance[plane == 0] for plane in drawn])
    assert of_background.min() < 8
    assert 10 < of_background.max() < 42


def test_strokes_run_along_the_middle_with_the_brushs_width():
    labels = np.zeros((3, 120, 240), np.uint8)
    labels[:, 50:70, 20:220] = 1  # 20 x 200 mm
    grid = Grid(labels.shape[::-1], (1.0, 1.0, 5.0))
    generator = np.random.default_rng(0)
    path = medial_path(labels[0] > 0, (1.0, 1.0), generator)
    middle = path[(path[:, 1] > 35) & (path[:, 1] < 205)]
    assert np.abs(middle[:, 0] - 59.5).max() < 4
    # People stop short of both ends of an organ.
    assert 0.4 * 200 < np.ptp(path[:, 1]) < 200
    for width in (4.0, 8.0):
        pixels = painted(path, width, labels[0] > 0, grid.spacing[:2])
        length = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
        assert len(pixels) == pytest.approx(width * length, rel=0.25)
        assert (np.diff(pixels[:, 1]) * np.sign(path[-1, 1] - path[0, 1]) > -width).all()  # in the pen's order


@settings(max_examples=20)
@given(st.integers(0, 10 ** 6), st.floats(4, 12), st.floats(10, 60))
def test_border_strokes_keep_their_depth_and_length(seed, at, length):
    y, x = np.mgrid[:120, :120]
    region = np.hypot(y - 60, x - 60) < 50
    depth = depth_of(region, (1.0, 1.0))
    generator = np.random.default_rng(seed)
    path = border_path(region, depth, at, length, generator.random(region.shape), (1.0, 1.0), generator)
    inside = 50 - np.hypot(*(path - 60).T)
    assert np.abs(inside - at).max() < 6
    walked = np.linalg.norm(np.diff(path[::4], axis=0), axis=1).sum()
    assert 0.4 * length - 8 < walked < 1.5 * length + 8


def test_a_depth_that_no_pixel_has_gives_no_stroke():
    region = np.ones((5, 5), bool)
    depth = depth_of(np.pad(region, 1), (1.0, 1.0))[1:-1, 1:-1]
    assert border_path(region, depth, 9.0, 5.0, depth, (1.0, 1.0), np.random.default_rng(0)) is None


@pytest.mark.parametrize("pixels", [1, 2])
def test_the_smallest_regions_are_drawn(pixels):
    region = np.zeros((4, 4), bool)
    region[2, 1:1 + pixels] = True
    path = medial_path(region, (1.0, 1.0), np.random.default_rng(0))
    assert len(painted(path, 0.1, region, (1.0, 1.0))) >= 1


def test_a_value_that_is_no_organ_is_refused():
    labels = np.zeros((4, 8, 8), np.uint8)
    labels[1, 2, 3:6] = 9
    with pytest.raises(UserError, match=r"label value 9 \(3 voxels\): expected 0..5 \(shi5\)"):
        simulate_scribble(Volume(labels, Grid((8, 8, 4), (1.0, 1.0, 1.0))), SHI5)


def test_the_command_writes_what_a_scribble_case_reads(phantom, tmp_path: Path, capsys):
    for folder in ("anna", "ötto"):
        write_image(tmp_path / folder / "label.nii.gz", phantom.array, phantom.grid)
    command = ["scribble", *(str(tmp_path / name / "label.nii.gz") for name in ("anna", "ötto")),
               "-o", str(tmp_path / "out"), "--slices-per-organ", "2", "--seed", "5"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "of the organs' voxels drawn" in shown
    for name in ("liver", "background"):
        assert name in shown
    files = [tmp_path / "out" / f"{name}_label.scribble.nii.gz" for name in ("anna", "ötto")]
    write_image(tmp_path / "ct.nii.gz", np.zeros(phantom.array.shape, np.int16), phantom.grid)
    for file in files:
        case = Case("a", "a", "set", tmp_path / "ct.nii.gz", Kind.SCRIBBLE, file)
        table = CandidateTable(17)
        codes = case.read_codes(case.read_image(), WORD16, table)
        # A voxel is either drawn, and certain, or may be anything.
        sizes = table.table[codes].sum(-1)
        assert set(np.unique(sizes)) == {1, 17}
        assert (table.table[codes].argmax(-1)[sizes == 1] == phantom.array[sizes == 1]).all()
    assert main(command) == 1
    assert "--overwrite" in capsys.readouterr().err


def test_the_command_reports_figures_and_absent_organs(phantom, tmp_path: Path, capfd):
    write_image(tmp_path / "in" / "a.nii.gz", np.where(phantom.array == 1, 1, 0).astype(np.uint8), phantom.grid)
    assert main(["scribble", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--organs", "liver,spleen",
                 "--every-mm", "40", "--no-background", "--json-events"]) == 0
    events = {event["event"]: event for event in map(json.loads, capfd.readouterr().out.splitlines())}
    assert "no voxel of spleen" in events["warning"]["message"]
    liver, = events["result"]["organs"]
    assert liver["name"] == "liver"
    assert events["result"]["share"] == liver["voxels"] / (phantom.array == 1).sum()


@pytest.mark.parametrize(("words", "code", "message"), [
    (["--organs", "livre"], 1, "did you mean 'liver'"), (["--label-space", "word"], 1, "--label-space: expected one"),
    (["--label-space", "shi5"], 1, r"a.nii.gz: label value 16"), (["--every-mm", "0"], 2, "above 0"),
    (["--slices-per-organ", "0"], 2, "from 1 on"), (["--every-mm", "5", "--slices-per-organ", "3"], 2, "not allowed"),
    (["--seed", "-1"], 2, "--seed: expected a whole number from 0 on, found '-1'"),
])
def test_wrong_use_ends_with_one_line(tmp_path: Path, capsys, words, code, message):
    array = np.zeros((4, 8, 8), np.uint8)
    array[2, 2:4, 2:4] = 16
    write_image(tmp_path / "a.nii.gz", array)
    assert main(["scribble", str(tmp_path / "a.nii.gz"), "-o", str(tmp_path / "out"), *words]) == code
    line, = capsys.readouterr().err.splitlines()
    assert message in line


def test_scribbles_alone_are_nothing_to_draw_from(tmp_path: Path, capsys):
    write_image(tmp_path / "a.scribble.nii.gz", np.full((4, 8, 8), 255, np.uint8))
    assert main(["scribble", str(tmp_path / "a.scribble.nii.gz"), "-o", str(tmp_path / "out")]) == 1
    line, = capsys.readouterr().err.splitlines()
    assert "expected label maps to draw from, found scribbles alone" in line
    assert not (tmp_path / "out").exists()
