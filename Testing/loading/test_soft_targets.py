"""Soft targets from file to patch: what the file must hold, where it must lie, and that it moves with the image."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from PartialOrganSegLib.annotation import CandidateTable
from PartialOrganSegLib.datasets.manifest import check_manifest, load_manifest
from PartialOrganSegLib.datasets.soft_targets import SoftTargets, quantised, read_soft_targets
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.imaging.volume import Grid
from PartialOrganSegLib.loading.augmentation import SOFT_STRIDE, Augmentation
from PartialOrganSegLib.loading.cache import CachedCase, cache_cases
from PartialOrganSegLib.loading.soft_cache import with_soft_targets
from PartialOrganSegLib.organs import BTCV13, WORD16
from Testing.helpers.soft_targets import CLASSES, GRID, SHAPE, manifest_with_soft, soft_of, write_soft
from Testing.helpers.training_data import SPACING_ZYX, blocks


def cached_with_soft(path: Path) -> tuple[list[CachedCase], tuple[tuple[int, ...], ...]]:
    cases = load_manifest(path).cases
    table = CandidateTable(WORD16.class_count)
    cached = cache_cases(cases, WORD16, table, SPACING_ZYX, path.parent / "cache", Reporter())
    return with_soft_targets(cached, WORD16, Reporter())


def test_a_file_reads_as_it_was_written(tmp_path: Path):
    # Turned about z: a grid whose direction is not the identity must survive the file.
    grid = Grid((5, 4, 3), (1.5, 2.0, 3.0), (-7.0, 8.0, 9.5), (0, 1, 0, -1, 0, 0, 0, 0, 1))
    probabilities = np.random.default_rng(0).dirichlet([1, 1, 1], (3, 4, 5)).transpose(3, 0, 1, 2)
    soft = read_soft_targets(write_soft(tmp_path / "Ziele ä.npz", grid, probabilities))
    assert soft.grid == grid
    assert soft.classes == CLASSES
    np.testing.assert_allclose(soft.probabilities / 255, probabilities, atol=0.5 / 255 + 1e-9)
    # Written beside and renamed: no temporary file stays.
    assert list(tmp_path.iterdir()) == [tmp_path / "Ziele ä.npz"]


def test_the_class_rest_is_all_that_no_other_class_names():
    soft = SoftTargets(np.zeros((3, 1, 1, 1), np.uint8), Grid((1, 1, 1), (1, 1, 1)), CLASSES)
    for space in (WORD16, BTCV13):
        remaining, liver, pair = soft.sets(space)
        assert liver == (space.index("liver"),)
        assert pair == space.indices(("spleen", "left_kidney"))
        assert sorted((*remaining, *liver, *pair)) == list(range(space.class_count))


@pytest.mark.parametrize(("classes", "message"), [
    ([["rest"], ["livr"], ["spleen"]], r"classes: unknown organ 'livr' \(did you mean 'liver'\?\)"),
    ([["rest"], ["liver"], ["spleen", "liver"]], r"classes: expected each name once, found liver twice"),
    # "left_kidney" is the first organ that no class names.
    ([["background"], ["liver"], ["spleen"]], r"classes: expected one for left_kidney, .* found none"),
    ([["rest"], ["rest"], ["spleen"]], r"classes: expected one for background, .*, or one that is 'rest'"),
    ([["rest"], ["background", *WORD16.names[1:]], ["liver"]], r"classes: .* nothing is left for 'rest'$"),
    ([["rest"], ["liver"]], r"classes: expected 3, as in probabilities, found 2"),
    ([["rest"], [], ["liver"]], r"classes: expected a JSON list of lists of names, found"),
    ("rest", r"classes: expected a JSON list of lists of names, found"),
])
def test_bad_classes_are_reported_in_one_line(tmp_path: Path, classes, message):
    manifest = load_manifest(manifest_with_soft(tmp_path, "s.npz"))
    write_soft(tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as content:
        np.savez(tmp_path / "s.npz", **{**content, "classes": np.array(json.dumps(classes))})
    problem, = map(str, check_manifest(manifest))
    assert problem.startswith(f"case0: {tmp_path / 's.npz'}: ")
    assert "\n" not in problem
    assert re.search(message, problem)


@pytest.mark.parametrize(("change", "message"), [
    ({"probabilities": np.zeros((3, 12, 24, 24), np.float32)}, "probabilities: expected uint8 in four axes"),
    ({"probabilities": np.zeros((3, 12, 24), np.uint8)}, "probabilities: expected uint8 in four axes"),
    ({"spacing": np.array([2.0, 0.0, 3.0])}, "spacing: expected more than 0 mm"),
    ({"origin": np.array([0.0, np.nan, 0.0])}, "origin: expected 3 finite numbers"),
    ({"direction": np.eye(3)}, "direction: expected 9 finite numbers"),
    ({"probabilities": np.zeros((3, 11, 24, 24), np.uint8)}, "fill the image's box, found (24, 24, 11)"),
    ({"origin": np.array([0.0, 1.0, 0.0])}, "corners up to 1.0 mm away"),
])
def test_bad_arrays_are_reported_in_one_line(tmp_path: Path, change, message):
    manifest = load_manifest(manifest_with_soft(tmp_path, "s.npz"))
    write_soft(tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as content:
        np.savez(tmp_path / "s.npz", **{**content, **change})
    problem, = map(str, check_manifest(manifest))
    assert f"{tmp_path / 's.npz'}: " in problem
    assert message in problem


def test_missing_and_unreadable_files_are_reported(tmp_path: Path):
    manifest = load_manifest(manifest_with_soft(tmp_path, "missing.npz", "text.npz", "pickle.npz", "half.npz"))
    (tmp_path / "text.npz").write_text("no zip")
    # Arrays of objects are pickles, which can run code when they are read.
    np.savez(tmp_path / "pickle.npz", **dict.fromkeys(("probabilities", "spacing", "origin", "direction", "classes"),
                                                      np.array([{}], object)))
    content = write_soft(tmp_path / "half.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(content[:len(content) // 2])
    missing, *unreadable = map(str, check_manifest(manifest))
    assert missing == f"case0: expected the file {tmp_path / 'missing.npz'}, found none"
    for name, problem in zip(("text", "pickle", "half"), unreadable, strict=True):
        assert problem.endswith(f"{name}.npz: expected soft targets (.npz without pickles), found something else")


def test_probabilities_lie_on_the_cached_image(tmp_path: Path):
    """The same voxels, listed in another axis order and direction; and a grid half as fine in the same box."""
    # Both files cover the image's box, so that each is expected on exactly the image's voxels.
    _, labels = blocks(0)
    # The origin lies at the far end of x, since that axis runs backwards.
    turned = Grid((24, 12, 24), (2.0, 3.0, 2.0), (46.0, 0.0, 0.0), (-1, 0, 0, 0, 0, 1, 0, 1, 0))
    path = manifest_with_soft(tmp_path, "a.npz", "b.npz", None)
    write_soft(tmp_path / "a.npz", turned, soft_of(labels)[..., ::-1].transpose(0, 2, 1, 3))
    # Half as many voxels of twice the size: the first centre lies half a fine voxel further in.
    coarse = Grid((12, 12, 6), (4.0, 4.0, 6.0), (1.0, 1.0, 1.5))
    ramp = np.linspace(0, 1, 12)[None, None, :, None] * np.ones(coarse.shape)[None]
    write_soft(tmp_path / "b.npz", coarse, np.concatenate([1 - ramp, ramp, 0 * ramp]))
    (first, second, third), sets = cached_with_soft(path)
    assert sets == (tuple(sorted({*range(17)} - {1, 2, 3})), (1,), (2, 3))
    np.testing.assert_array_equal(first.soft_targets.probabilities(), quantised(soft_of(labels)))
    probabilities = second.soft_targets.probabilities()
    assert probabilities.shape == (3, *SHAPE)
    expected = 255 * np.interp(np.arange(24), np.arange(12) * 2 + 0.5, np.linspace(0, 1, 12))
    np.testing.assert_allclose(probabilities[1, 5, :, 7], expected, atol=1)
    np.testing.assert_allclose(probabilities.sum(0, dtype=int), 255, atol=1)
    assert third.soft_targets is None


def test_a_file_is_resampled_once_and_anew_when_it_changes(tmp_path: Path):
    path = manifest_with_soft(tmp_path, "a.npz")
    write_soft(tmp_path / "a.npz")
    (first,), _ = cached_with_soft(path)
    stamp = first.soft_targets.file.stat().st_mtime_ns
    (again,), _ = cached_with_soft(path)
    assert again.soft_targets.file.stat().st_mtime_ns == stamp
    write_soft(tmp_path / "a.npz", GRID, np.ones((3, *SHAPE)) / 3, (("rest",), ("spleen",), ("pancreas",)))
    (changed,), sets = cached_with_soft(path)
    assert changed.soft_targets.file != first.soft_targets.file
    assert changed.image_file == first.image_file  # the CT is not resampled again for it
    assert sets[1:] == ((2,), (8,))


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"[[0], [", b"null"])
@pytest.mark.parametrize("ending", [".soft.npy", ".soft.json"])
def test_a_damaged_cached_file_is_made_anew(tmp_path: Path, ending: str, damage: bytes):
    path = manifest_with_soft(tmp_path, "a.npz")
    write_soft(tmp_path / "a.npz")
    (first,), sets = cached_with_soft(path)
    probabilities = np.array(np.load(first.soft_targets.file))
    [file] = (tmp_path / "cache").glob(f"*{ending}")
    file.write_bytes(damage)
    (again,), sets_again = cached_with_soft(path)
    np.testing.assert_array_equal(np.load(again.soft_targets.file), probabilities)
    assert sets_again == sets


def test_teachers_of_several_label_spaces_share_the_rows_they_agree_on(tmp_path: Path):
    path = manifest_with_soft(tmp_path, "a.npz", "b.npz")
    write_soft(tmp_path / "a.npz")
    write_soft(tmp_path / "b.npz", classes=(("liver",), ("rest",)), probabilities=np.ones((2, *SHAPE)) / 2)
    (first, second), sets = cached_with_soft(path)
    assert first.soft_targets.rows == (0, 1, 2)
    assert second.soft_targets.rows == (1, 3)
    assert [len(classes) for classes in sets] == [14, 1, 2, 16]
    assert first.soft_targets.sets == second.soft_targets.sets
    assert len(first.soft_targets.sets) == 4


def test_a_file_that_does_not_fit_is_reported_before_training(tmp_path: Path):
    path = manifest_with_soft(tmp_path, "a.npz")
    # The last slice would lie 1.2 mm short of the image's.
    write_soft(tmp_path / "a.npz", replace(GRID, spacing=(2.0, 2.0, 2.9)))
    with pytest.raises(UserError, match=r"^case0: .*a\.npz: expected voxels of any size that fill the image's box"):
        cached_with_soft(path)


# A patch of other size than the image in every axis, with all random changes at full strength.
FULL = Augmentation((10, 20, 24), (3.0, 2.0, 2.0), (-300.0, 500.0), 60.0, 150.0)


@pytest.mark.parametrize("seed", range(5))
def test_soft_targets_move_with_the_codes(seed):
    """Of certain targets the largest is the code nearly everywhere; image and codes are those without soft targets."""
    generator = np.random.default_rng(seed)
    # Blocks of several voxels: at their faces interpolation may name either neighbour, inside it may not.
    codes = np.repeat(np.repeat(np.repeat(generator.integers(0, 3, (6, 8, 8)), 5, 0), 6, 1), 6, 2).astype(np.uint8)
    image = generator.integers(-200, 300, codes.shape).astype(np.int16)
    soft = np.ascontiguousarray(np.moveaxis(np.eye(3, dtype=np.uint8)[codes] * np.uint8(255), -1, 0))
    centre = (15, 24, 24)
    pixels, marks, moved = FULL(image, codes, centre, np.random.default_rng(seed), soft)
    alone = FULL(image, codes, centre, np.random.default_rng(seed))
    assert torch.equal(pixels, alone[0])
    assert torch.equal(marks, alone[1])
    assert alone[2] is None
    assert moved.dtype == torch.uint8
    has_target = moved.sum(0) > 0
    # Every SOFT_STRIDEth voxel along each axis carries a target: the rest would cost memory and say the same.
    assert float(has_target.float().mean()) == pytest.approx(SOFT_STRIDE ** -3, rel=0.35)
    clear = has_target & (moved.amax(0) > 150)
    agree = (moved.argmax(0) == marks)[clear].float().mean()
    assert float(agree) > 0.97
    assert float(clear.sum()) > 0.4 * float(has_target.sum())


def test_voxels_outside_the_image_have_no_soft_target():
    shape = (6, 8, 10)
    moved = replace(FULL, strength=0.0)(np.zeros(shape, np.int16), np.zeros(shape, np.uint8), (3, 4, 5),
                                        np.random.default_rng(0), np.full((2, *shape), 127, np.uint8))[2]
    inside = np.zeros(moved.shape[1:], bool)
    inside[2:8, 6:14, 7:17] = True
    assert not moved.numpy()[:, ~inside].any()
    assert set(np.unique(moved.numpy()[:, inside]).tolist()) == {0, 127}
