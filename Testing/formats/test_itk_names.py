"""Files in "Müller" on a Windows whose ITK cannot spell it: what it is given is spelled plainly, as asserted here."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats import itk_names
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from PartialOrganSegLib.formats.writing import write_ct, write_labelmap, write_segmentation
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import WORD16
from Testing.helpers.dicom_files import write_slices

GRID = Grid((12, 10, 8), (2.0, 2.0, 3.0), (-5.0, 4.0, 100.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
FOLDER = "Bücher 医院"


@pytest.fixture(autouse=True)
def plain_itk(monkeypatch, tmp_path) -> Path:
    """An ITK that knows ASCII only; the folder for detours, which is to be left empty."""
    detours = tmp_path / "detours"
    detours.mkdir()
    # Stands for a Windows with an old code page; on this system ITK opens any name.
    monkeypatch.setattr(itk_names, "_understood", str.isascii)
    monkeypatch.setattr(itk_names, "_short_name", str)
    monkeypatch.setattr(itk_names.tempfile, "gettempdir", lambda: str(detours))
    reads, opens, writes = sitk.ReadImage, sitk.ImageFileReader.SetFileName, sitk.WriteImage

    def plain(name: str) -> str:
        assert name.isascii(), name
        return name

    monkeypatch.setattr(sitk, "ReadImage", lambda name, **settings: reads(plain(name), **settings))
    monkeypatch.setattr(sitk, "WriteImage", lambda image, name, packed: writes(image, plain(name), packed))
    monkeypatch.setattr(sitk.ImageFileReader, "SetFileName", lambda self, name: opens(self, plain(name)))
    return detours


def hu() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1500, (8, 10, 12)).astype(np.int16)


@pytest.mark.parametrize("name", ["prüfung.nii.gz", "plain.nii.gz", "prüfung.nrrd", "prüfung.mha", "v1.2 é.nii"])
def test_a_ct_and_labels_are_written_and_read(tmp_path, plain_itk, name):
    folder = tmp_path / FOLDER
    folder.mkdir()
    write_ct(folder / name, Volume(hu(), GRID))
    volume = read_ct(folder / name)
    assert np.array_equal(volume.array, hu())
    assert volume.grid.same_as(GRID)
    labels = (hu() > 500).astype(np.uint8)
    write_labelmap(folder / f"labels {name}", Volume(labels, GRID))
    assert np.array_equal(read_labelmap(folder / f"labels {name}").array, labels)
    # Nothing but the CT and its labels, and no detour's copy.
    assert len(list(folder.iterdir())) == 2
    assert not list(plain_itk.iterdir())


def test_a_segmentation_keeps_its_names(tmp_path):
    folder = tmp_path / FOLDER
    folder.mkdir()
    write_segmentation(folder / "ä.seg.nrrd", Volume((hu() > 500).astype(np.uint8), GRID), WORD16)
    assert b"Segment0_Name:=liver" in (folder / "ä.seg.nrrd").read_bytes()


def test_a_dicom_folder_is_read(tmp_path, plain_itk):
    write_slices(tmp_path / FOLDER, hu())
    assert np.array_equal(read_ct(tmp_path / FOLDER).array, hu())
    assert not list(plain_itk.iterdir())


def test_windows_own_short_name_saves_the_detour(tmp_path, plain_itk, monkeypatch):
    folder, short = tmp_path / FOLDER, tmp_path / "BCHER~1"
    folder.mkdir()
    short.symlink_to(folder, target_is_directory=True)
    monkeypatch.setattr(itk_names, "_short_name", lambda path: str(short) if path == folder else str(path))
    monkeypatch.setattr(itk_names, "plain_folder", None)  # would fail if it were asked for
    write_ct(folder / "plain.nii.gz", Volume(hu(), GRID))
    assert np.array_equal(read_ct(folder / "plain.nii.gz").array, hu())


@pytest.mark.parametrize(("written", "name"), [("ct.mhd", "ct.mhd"), ("ct.nhdr", "ct.nhdr"), ("ct.mhd", "ct.mha"),
                                               ("ct.nhdr", "ct.nrrd")])
def test_a_header_with_its_voxels_elsewhere_is_told(tmp_path, written, name):
    folder = tmp_path / FOLDER
    folder.mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(hu()), str(tmp_path / written), False)
    for file in tmp_path.glob("ct.*"):
        file.rename(folder / (name if file.name == written else file.name))
    assert len(list(folder.iterdir())) == 2
    with pytest.raises(UserError, match=rf"{name}: expected a path of English letters"):
        read_ct(folder / name)


def test_no_plain_folder_at_all_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    folder = tmp_path / FOLDER
    folder.mkdir()
    monkeypatch.setattr(itk_names.tempfile, "gettempdir", lambda: str(folder))
    monkeypatch.setenv("PROGRAMDATA", str(tmp_path / "gone"))
    monkeypatch.delenv("PUBLIC", raising=False)
    with pytest.raises(UserError, match=r"ü\.nii\.gz: could not be written: TEMP: expected a folder of English"):
        write_ct(folder / "ü.nii.gz", Volume(hu(), GRID))
    assert not list(folder.iterdir())


def test_no_room_for_a_copy_is_not_called_a_damaged_image(tmp_path, plain_itk, monkeypatch):
    folder = tmp_path / FOLDER
    folder.mkdir()
    write_ct(tmp_path / "plain.nrrd", Volume(hu(), GRID))
    (tmp_path / "plain.nrrd").rename(folder / "ü.nrrd")

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(itk_names.shutil, "copyfile", full)
    with pytest.raises(UserError, match=r"ü\.nrrd: could not be copied to .*TEMP.*No space left"):
        read_ct(folder / "ü.nrrd")
    assert not list(plain_itk.iterdir())


def test_what_windows_is_asked(monkeypatch):
    """The calls themselves, with a Windows that answers as the real one is documented to."""
    monkeypatch.undo()
    requests = []

    class Kernel:
        page = 1252

        def GetACP(self):
            return self.page

        def GetShortPathNameW(self, name, buffer, size):
            requests.append((name, size))
            # Windows returns the length that is needed where the name does not fit, and 0 where there is none.
            short = {"Müller": "C:\\MLLER~1", "long": "x" * 2000}.get(Path(name).name, "")
            if len(short) < size:
                buffer.value = short
                return len(short)
            return len(short) + 1

    kernel = Kernel()
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    monkeypatch.setattr(itk_names.sys, "platform", "win32")
    assert itk_names._understood("C:/plain")
    assert not itk_names._understood("C:/Müller")
    assert itk_names._short_name(Path("/Müller")) == "C:\\MLLER~1"
    assert itk_names._short_name(Path("/long")) == str(Path("/long"))  # more than fits
    assert itk_names._short_name(Path("/none")) == str(Path("/none"))  # Windows keeps no short names there
    assert [size for _, size in requests] == [1024, 1024, 1024]
    # UTF-8 as the code page: every name can be spelled.
    kernel.page = 65001
    assert itk_names._understood("C:/Müller")


def test_a_full_disk_on_the_detour_is_told_and_leaves_nothing(tmp_path, plain_itk, monkeypatch):
    folder = tmp_path / FOLDER
    folder.mkdir()

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(itk_names.shutil, "copyfile", full)
    with pytest.raises(UserError, match=r"ü\.nii\.gz: could not be written: the disk is full"):
        write_ct(folder / "ü.nii.gz", Volume(hu(), GRID))
    assert not list(folder.iterdir())
    assert not list(plain_itk.iterdir())
