"""Cached cases lie where the CT lies, notice changes, and are made once by processes that run together."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from PartialOrganSegLib.annotation import CandidateTable, Kind
from PartialOrganSegLib.datasets.manifest import Case, load_manifest
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.formats.writing import write_ct, write_labelmap
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.loading.cache import CachedCase, cache_cases
from PartialOrganSegLib.loading.locking import locked
from PartialOrganSegLib.organs import WORD16
from Testing.helpers.training_data import SPACING_ZYX, blocks, write_case, write_image, write_yaml


def case_of(folder: Path, name: str = "a", **changes: object) -> Case:
    """A case whose files `write_case` or the test has written."""
    case = Case(name, name, "set", folder / f"{name}_image.nii.gz", Kind.FULL, folder / f"{name}_label.nii.gz")
    return replace(case, **changes)


def cached(folder: Path, *cases: Case, spacing=SPACING_ZYX, table: CandidateTable | None = None) -> list[CachedCase]:
    return cache_cases(cases, WORD16, table or CandidateTable(17), spacing, folder / "cache", Reporter())


def test_same_spacing_keeps_every_voxel(tmp_path: Path):
    write_case(tmp_path, "a", 0)
    table = CandidateTable(17)
    (case,) = cached(tmp_path, case_of(tmp_path), table=table)
    image, labels = blocks(0)
    assert case.image().dtype == np.int16
    assert np.array_equal(case.image(), image)
    assert np.array_equal(table.table[case.codes()].argmax(-1), labels)


def test_other_spacing_keeps_the_place(tmp_path: Path):
    """A ramp of HU along each axis says at which native voxel a working voxel was read."""
    shape, native, working = (20, 30, 40), (2.0, 1.5, 1.0), (3.0, 2.0, 2.5)
    z, y, x = np.meshgrid(*map(np.arange, shape), indexing="ij")
    for axis, ramp in enumerate((z, y, x)):
        name = "zyx"[axis]
        grid = Grid(shape[::-1], native[::-1])
        write_image(tmp_path / f"{name}_image.nii.gz", (20 * ramp).astype(np.int16), grid)
        write_image(tmp_path / f"{name}_label.nii.gz", (ramp % 10).astype(np.uint8), grid)
        table = CandidateTable(17)
        (case,) = cached(tmp_path, case_of(tmp_path, name), spacing=working, table=table)
        sizes = tuple(round(n * a / b) for n, a, b in zip(shape, native, working, strict=True))
        assert case.image().shape == case.codes().shape == sizes
        # Voxel k's centre in native voxels: boxes of both grids have the same faces, not the same first centre.
        place = (np.arange(sizes[axis]) + 0.5) * shape[axis] / sizes[axis] - 0.5
        # At the rim the spline has no neighbours beyond the image.
        inner = slice(2, -2)
        read = np.moveaxis(case.image(), axis, 0).reshape(sizes[axis], -1)
        np.testing.assert_allclose(read[inner], np.broadcast_to(20 * place[inner, None], read[inner].shape), atol=1)
        marks = np.moveaxis(table.table[case.codes()].argmax(-1), axis, 0).reshape(sizes[axis], -1)
        assert (marks == marks[:, :1]).all()
        for k in range(shape[axis]):
            nearest = np.argmin(np.abs(place - k))
            # At half of a voxel's width either neighbour is right.
            if abs(place[nearest] - k) < 0.49:
                assert marks[nearest, 0] == k % 10


@pytest.mark.parametrize("flips", [(True, True, False), (True, False, True)])
def test_a_turned_image_gives_the_same_arrays(tmp_path: Path, flips):
    image, labels = blocks(3)
    write_case(tmp_path, "a", 3)
    along = [i for i, flip in enumerate(flips) if flip]  # x, y, z
    spacing = SPACING_ZYX[::-1]
    size = image.shape[::-1]
    origin = tuple((size[i] - 1) * spacing[i] if i in along else 0.0 for i in range(3))
    direction = np.diag([-1.0 if flip else 1.0 for flip in flips])
    # The stored axes are also swapped: voxel axis 0 runs along the patient's y, axis 1 along x.
    turned = Grid((size[1], size[0], size[2]), (spacing[1], spacing[0], spacing[2]), origin,
                  tuple(float(v) for v in direction[:, [1, 0, 2]].ravel()))
    for end, array in (("image", image), ("label", labels)):
        flipped = np.flip(array, [2 - i for i in along]).transpose(0, 2, 1)
        write_image(tmp_path / f"b_{end}.nii.gz", flipped, turned)
    straight, turned_case = cached(tmp_path, case_of(tmp_path, "a"), case_of(tmp_path, "b"))
    assert np.array_equal(straight.image(), turned_case.image())
    assert np.array_equal(straight.codes(), turned_case.codes())


def test_a_second_run_reads_the_cache_and_a_changed_file_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_case(tmp_path, "a", 0)
    (first,) = cached(tmp_path, case_of(tmp_path))
    reads = []
    original = Case.read_image
    monkeypatch.setattr(Case, "read_image", lambda self: reads.append(self.name) or original(self))
    (again,) = cached(tmp_path, case_of(tmp_path))
    # Nothing was read: on a training set of hundreds of CTs that is minutes to hours.
    assert (again.image_file, again.codes_file, reads) == (first.image_file, first.codes_file, [])
    assert {k: v.tolist() for k, v in again.positions.items()} == {k: v.tolist() for k, v in first.positions.items()}
    write_image(tmp_path / "a_label.nii.gz", np.full((12, 24, 24), 7, np.uint8))
    (changed,) = cached(tmp_path, case_of(tmp_path))
    assert reads == ["a"]
    assert set(changed.positions) == {7}


@pytest.mark.parametrize("change", [{"annotated": ("liver",), "kind": Kind.PARTIAL},
                                    {"label_map": ((3, ("colon", "rectum")),)}, {"spacing": (3.0, 4.0, 4.0)}])
def test_a_changed_meaning_is_noticed(tmp_path: Path, change):
    write_case(tmp_path, "a", 0)
    (first,) = cached(tmp_path, case_of(tmp_path))
    spacing = change.pop("spacing", SPACING_ZYX)
    # The same files read with another meaning must not find the arrays of the first.
    (changed,) = cached(tmp_path, case_of(tmp_path, **change), spacing=spacing)
    assert changed.codes_file != first.codes_file


def test_codes_of_all_cases_share_one_table(tmp_path: Path):
    """Each case alone numbers its sets differently; together they must mean the same."""
    for name, seed in (("a", 0), ("b", 1)):
        write_case(tmp_path, name, seed)
    partial = case_of(tmp_path, "a", kind=Kind.PARTIAL, annotated=("liver", "spleen"))
    table = CandidateTable(17)
    for cases in ([partial, case_of(tmp_path, "b")], [case_of(tmp_path, "b"), partial]):
        table = CandidateTable(17)
        allowed = {}
        for cached_case in cached(tmp_path, *cases, table=table):
            allowed[cached_case.case.name] = table.table[cached_case.codes()]
        assert np.array_equal(allowed["b"].argmax(-1), blocks(1)[1])
        labels = blocks(0)[1]
        assert (allowed["a"][labels == 1].sum(-1) == 1).all()
        assert not allowed["a"][labels == 0][:, [1, 2]].any()
        assert allowed["a"][labels == 0][:, [0, *range(3, 17)]].all()


def test_positions_are_voxels_that_certainly_are_the_class(tmp_path: Path):
    write_case(tmp_path, "a", 0)
    labels = blocks(0)[1]
    (full,) = cached(tmp_path, case_of(tmp_path))
    assert set(full.positions) == {0, 1, 2, 3}
    (partial,) = cached(tmp_path, case_of(tmp_path, kind=Kind.PARTIAL, annotated=("liver", "left_kidney")))
    # Value 0 of a partial label is background or any organ that was not annotated: no certain place of anything.
    assert set(partial.positions) == {1, 3}
    for case in (full, partial):
        for label, places in case.positions.items():
            assert 0 < len(places) <= 400
            assert len(np.unique(places, axis=0)) == len(places)
            assert (labels[tuple(places.T)] == label).all()


def test_padding_below_air_is_air(tmp_path: Path):
    # Scanners pad round the field of view with values below any material's.
    write_image(tmp_path / "a_image.nii.gz", np.full((6, 8, 8), -3024, np.int16))
    write_image(tmp_path / "a_label.nii.gz", np.zeros((6, 8, 8), np.uint8))
    (case,) = cached(tmp_path, case_of(tmp_path))
    assert (case.image() == -1024).all()


def test_a_missing_file_is_reported_before_anything_is_read(tmp_path: Path):
    with pytest.raises(UserError, match=r"a: expected the file .*a_image\.nii\.gz, found none"):
        cached(tmp_path, case_of(tmp_path))


def test_cases_of_a_manifest_are_cached_in_its_order(tmp_path: Path):
    entries = [write_case(tmp_path, name, seed) for seed, name in enumerate("ba")]
    path = write_yaml(tmp_path / "m.yaml", {"datasets": [{"name": "s", "kind": "full", "cases": entries}]})
    assert [cached_case.case.name for cached_case in cached(tmp_path, *load_manifest(path).cases)] == ["b", "a"]


WORD16_CLASSES = ("background", *WORD16.names)


def test_air_around_the_body_is_background_where_the_annotation_leaves_it_open(tmp_path: Path):
    shape = (16, 40, 40)
    body = np.zeros(shape, bool)
    body[:, 10:30, 8:32] = True
    organ = np.zeros(shape, np.uint8)
    organ[5:9, 15:20, 15:20] = WORD16.index("spleen")
    grid = Grid(shape[::-1], (3.0, 3.0, 3.0))
    write_ct(tmp_path / "a.nii.gz", Volume(np.where(body, 40, -1000).astype(np.int16), grid))
    write_labelmap(tmp_path / "a_label.nii.gz", Volume(organ, grid))
    case = Case("a", "a", "clinic", tmp_path / "a.nii.gz", Kind.PARTIAL, tmp_path / "a_label.nii.gz",
                annotated=("spleen",))
    sets = {}
    # One cache folder for both: the setting must be part of what a cached case is recognised by.
    for air in (False, True):
        table = CandidateTable(WORD16.class_count)
        cached, = cache_cases([case], WORD16, table, (3.0, 3.0, 3.0), tmp_path / "cache", Reporter(), air)
        sets[air] = table.table[cached.codes()]
    assert sets[False][:, 0, 0].sum(-1).min() == WORD16.class_count - 1  # anything but the spleen
    assert (sets[True][:, 0, 0] == np.eye(WORD16.class_count, dtype=bool)[0]).all()
    assert (sets[True][body] == sets[False][body]).all()
    unlabelled = replace(case, kind=Kind.UNLABELLED, annotated=(), label=None)
    cached, = cache_cases([unlabelled], WORD16, table, (3.0, 3.0, 3.0), tmp_path / "cache", Reporter(), True)
    assert table.table[cached.codes()].all()  # anything, in the air too
    strokes = replace(case, kind=Kind.SCRIBBLE, label_map=((0, WORD16_CLASSES),))
    cached, = cache_cases([strokes], WORD16, table, (3.0, 3.0, 3.0), tmp_path / "cache", Reporter(), True)
    assert (table.table[cached.codes()].all(-1) == (organ == 0)).all()


def test_a_changed_slice_of_a_dicom_folder_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_case(tmp_path, "a", 0)
    series = tmp_path / "series" / "inner"
    series.mkdir(parents=True)
    for number in range(3):
        (series / f"{number}.dcm").write_bytes(b"slice")
    image = case_of(tmp_path).read_image()
    monkeypatch.setattr(Case, "read_image", lambda self: image)
    dicom = case_of(tmp_path, image=tmp_path / "series")
    (first,), (again,) = cached(tmp_path, dicom), cached(tmp_path, dicom)
    assert again.image_file == first.image_file
    # A folder's own time stamp does not change when a file in it does.
    (series / "1.dcm").write_bytes(b"SLICE and more")
    (changed,) = cached(tmp_path, dicom)
    (series / "3.dcm").write_bytes(b"slice")
    (longer,) = cached(tmp_path, dicom)
    assert len({first.image_file, changed.image_file, longer.image_file}) == 3


def test_a_split_and_a_strict_map_are_other_arrays(tmp_path: Path):
    write_case(tmp_path, "a", 0)
    split = ((3, ("left_kidney", "right_kidney")),)
    label_map = ((1, ("liver",)), (2, ("spleen",)), (3, ("left_kidney",)))
    cases = [case_of(tmp_path), case_of(tmp_path, split_left_right=split), case_of(tmp_path, label_map=label_map),
             case_of(tmp_path, label_map=label_map, only_mapped=True)]
    assert len({cached(tmp_path, case)[0].codes_file for case in cases}) == 4


def test_a_bad_label_names_its_case(tmp_path: Path):
    write_case(tmp_path, "a", 0)
    write_image(tmp_path / "a_label.nii.gz", np.full((12, 24, 24), 99, np.uint8))
    with pytest.raises(UserError, match=r"^a: .*a_label\.nii\.gz: label value 99 \(6912 voxels\): expected"):
        cached(tmp_path, case_of(tmp_path))


def test_processes_that_fill_one_cache_together_do_the_work_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Threads stand for processes: each opens the lock file for itself, and that is what the system locks by."""
    for name, seed in (("a", 0), ("b", 1)):
        write_case(tmp_path, name, seed)
    reads, read = [], Case.read_image

    def slowly(case: Case) -> Volume:
        reads.append(case.name)
        # Long enough that the other threads arrive while the first still works.
        time.sleep(0.2)
        return read(case)

    monkeypatch.setattr(Case, "read_image", slowly)
    with ThreadPoolExecutor(3) as pool:
        caches = list(pool.map(lambda _: cached(tmp_path, case_of(tmp_path, "a"), case_of(tmp_path, "b")), range(3)))
    assert sorted(reads) == ["a", "b"]
    for cache in caches:
        for cached_case, expected in zip(cache, caches[0], strict=True):
            assert np.array_equal(cached_case.codes(), expected.codes())
    # Three files a case and contents.json: no lock and nothing half-written stays.
    assert len(list((tmp_path / "cache").iterdir())) == 7


_HOLD = """
import sys, time
from pathlib import Path
from PartialOrganSegLib.loading.locking import locked

with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_process_waits_for_another_but_not_for_a_dead_one(tmp_path: Path):
    holder = subprocess.Popen([sys.executable, "-c", _HOLD, tmp_path / "lock"], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    acquired = []

    def acquire() -> None:
        with locked(tmp_path / "lock"):
            acquired.append(True)

    waiting = Thread(target=acquire)
    waiting.start()
    # The lock is held by a living process: half a second later the thread still waits.
    waiting.join(0.5)
    assert acquired == []
    # The system frees a dead process's lock: nobody must delete a file by hand after a crash.
    holder.kill()
    waiting.join(60)
    assert acquired == [True]
    holder.wait()
