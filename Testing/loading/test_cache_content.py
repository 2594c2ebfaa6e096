"""The cache is a copy: it follows its project to another place, and what is damaged in it is made anew."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from PartialOrganSegLib.annotation import CandidateTable, Kind
from PartialOrganSegLib.datasets.case import Case
from PartialOrganSegLib.loading.cache import CACHE_VERSION, CachedCase, cache_cases
from PartialOrganSegLib.loading.contents import FILE, Contents, digest, stamps
from PartialOrganSegLib.loading.locking import locked
from PartialOrganSegLib.organs import WORD16
from Testing.helpers.listener import Listener
from Testing.helpers.training_data import SPACING_ZYX, write_case, write_image


def case_of(folder: Path) -> Case:
    return Case("a", "a", "d", folder / "a_image.nii.gz", Kind.FULL, folder / "a_label.nii.gz")


def cached(folder: Path, listener: Listener | None = None) -> CachedCase:
    table = CandidateTable(WORD16.class_count)
    return cache_cases([case_of(folder)], WORD16, table, SPACING_ZYX, folder / "cache", listener or Listener())[0]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the cases whose image was read."""
    names: list[str] = []
    read = Case.read_image
    monkeypatch.setattr(Case, "read_image", lambda self: names.append(self.name) or read(self))
    return names


def test_a_renamed_or_copied_project_keeps_its_cache(tmp_path, reads):
    project = tmp_path / "project"
    write_case(project, "a", 0)
    first = cached(project)
    renamed = project.rename(tmp_path / "renamed")
    copy = tmp_path / "copy"
    shutil.copytree(renamed, copy, copy_function=shutil.copyfile)  # with other times
    # Copying tools set other times: files are recognised by what is in them.
    os.utime(copy / "a_image.nii.gz", (1, 1))
    for folder in (renamed, copy):
        assert cached(folder).image_file.name == first.image_file.name
    assert reads == ["a"]


def test_the_lock_of_a_killed_process_goes_and_a_living_ones_stays(tmp_path):
    write_case(tmp_path, "a", 0)
    lock = cached(tmp_path).image_file.with_suffix(".lock")
    assert not lock.exists()
    with locked(lock):
        cached(tmp_path)
        assert os.name == "nt" or lock.exists()
    # As a killed process leaves it: a file that nobody holds.
    lock.touch()
    cached(tmp_path)
    assert os.name == "nt" or not lock.exists()


def test_changed_voxels_beside_a_header_are_noticed(tmp_path):
    write_case(tmp_path, "a", 0)
    contents = Contents(tmp_path)
    path = write_image(tmp_path / "ct.mhd", np.zeros((4, 4, 4), np.int16))
    before, copy = contents.of(path), tmp_path / "copy"
    copy.mkdir()
    for name in ("ct.mhd", "ct.raw"):
        shutil.copyfile(tmp_path / name, copy / name)
    assert contents.of(copy / "ct.mhd") == before
    voxels = bytearray((copy / "ct.raw").read_bytes())
    # Header, size and name stay as they were; only the voxels in the .raw file change.
    voxels[0] ^= 1
    (copy / "ct.raw").write_bytes(voxels)
    os.utime(copy / "ct.raw", (5, 5))
    assert contents.of(copy / "ct.mhd") != before


@pytest.mark.parametrize("damage", ["half", "empty", "other shape", "text", "zeros", "other numbers"])
@pytest.mark.parametrize("ending", [".image.npy", ".candidates.npy", ".candidates.json"])
def test_a_damaged_cached_file_is_rebuilt_with_a_warning(tmp_path, reads, ending, damage):
    write_case(tmp_path, "a", 0)
    first = cached(tmp_path)
    image, codes = np.array(first.image()), np.array(first.codes())
    (file,) = (tmp_path / "cache").glob(f"a-*{ending}")
    content = file.read_bytes()
    if damage == "other shape":
        if ending.endswith("npy"):
            with open(file, "wb") as stream:
                np.save(stream, np.load(file.with_name(file.name))[:-1] if file.stat().st_size else 0)
        else:
            file.write_text(json.dumps(json.loads(content)["sets"][:2]))
    elif damage == "zeros":  # as after a power failure: the length is right
        file.write_bytes(content[:-100] + bytes(100))
    elif damage == "other numbers":
        file.write_bytes(content.replace(b"[0", b"[999") if ending.endswith("json") else content[:-1] + b"\x07")
    else:
        file.write_bytes({"half": content[:len(content) // 2], "empty": b"", "text": b"[1, {"}[damage])
    listener = Listener()
    again = cached(tmp_path, listener)
    np.testing.assert_array_equal(again.image(), image)
    np.testing.assert_array_equal(again.codes(), codes)
    assert reads == ["a", "a"]
    assert len(listener.warnings) == 1
    assert "it is made anew" in listener.warnings[0]
    assert file.read_bytes() == content


def test_voxels_that_changed_under_the_same_time_are_noticed(tmp_path):
    # As a tool copies another patient's CT over it and sets the time of the one before.
    path = write_image(tmp_path / "ct.nii", np.zeros((4, 4, 4), np.int16))
    contents, times, content = Contents(tmp_path), path.stat(), bytearray(path.read_bytes())
    before = contents.of(path)
    content[-2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert stamps(path) == [(str(path), times.st_size, times.st_mtime_ns)]
    assert contents.of(path) != before


def test_a_run_of_an_earlier_version_finds_its_files(tmp_path, reads):
    """Up to 0.4.0 cached files were called after place and time; a checkpoint names them."""
    write_case(tmp_path, "a", 0)
    case, first = case_of(tmp_path), cached(tmp_path)
    former = digest([CACHE_VERSION, WORD16.names, [stamps(path) for path in case.files()], list(SPACING_ZYX), "full",
                     (), (), (), False, False])
    for file in (tmp_path / "cache").glob("a-*"):
        # As the earlier version would have called them.
        file.rename(file.with_name(f"a-{former}.{file.name.partition('.')[2]}"))
    assert cached(tmp_path).image_file.name == f"a-{former}.image.npy" != first.image_file.name
    assert reads == ["a"]


def test_a_run_that_called_the_case_otherwise_finds_its_files(tmp_path, reads):
    """Up to 0.5.0 a case whose file is called "image" was called after the file too; a checkpoint names its files."""
    folder = tmp_path / "patient 7"
    folder.mkdir()
    write_case(folder, "a", 0)
    (folder / "a_image.nii.gz").rename(folder / "image.nii.gz")
    before, now = (Case(name, "g", "d", folder / "image.nii.gz", Kind.FULL, folder / "a_label.nii.gz")
                   for name in ("patient 7_image", "patient 7"))
    names = []
    for case in (before, now):
        table = CandidateTable(WORD16.class_count)
        names.append(cache_cases([case], WORD16, table, SPACING_ZYX, tmp_path / "cache", Listener())[0].image_file.name)
    assert names[0] == names[1]
    assert reads == ["patient 7_image"]


@pytest.mark.parametrize("content", ["", "[]", '{"x": 3}', "[" * 100_000])
def test_a_damaged_memory_of_contents_is_only_lost(tmp_path, reads, content):
    write_case(tmp_path, "a", 0)
    first = cached(tmp_path)
    (tmp_path / "cache" / FILE).write_text(content)
    assert cached(tmp_path).image_file == first.image_file
    assert reads == ["a"]
