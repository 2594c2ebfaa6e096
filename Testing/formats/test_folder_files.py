"""Files of a folder through links: each folder once, never round in circles, never out of it upwards."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from PartialOrganSegLib.batch.cases import expand
from PartialOrganSegLib.batch.fingerprint import fingerprint
from PartialOrganSegLib.formats.dicom_slices import dicom_files, holds_dicom
from PartialOrganSegLib.formats.folder_files import files_below
from PartialOrganSegLib.formats.reading import list_inputs, read_ct
from Testing.helpers.dicom_files import positions_of, write_slices
from Testing.helpers.listener import Listener
from Testing.helpers.volume_files import body, save

needs_links = pytest.mark.skipif(os.name == "nt", reason="links need a right there")


def write_halves(folder: Path) -> np.ndarray:
    """A CT whose upper half lies in a linked folder."""
    array = body()
    middle, positions = len(array) // 2, positions_of(len(array))
    common = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4", "FrameOfReferenceUID": "1.2.3.5"}
    write_slices(folder / "study" / "a", array[:middle], positions=positions[:middle], **common)
    write_slices(folder / "store" / "b", array[middle:], positions=positions[middle:], **common)
    (folder / "study" / "b").symlink_to(folder / "store" / "b", target_is_directory=True)
    return array


@needs_links
def test_linked_slices_belong_to_the_ct(tmp_path: Path) -> None:
    array = write_halves(tmp_path)
    np.testing.assert_array_equal(read_ct(tmp_path / "study").array, array)
    before = fingerprint(tmp_path / "study")
    linked = next((tmp_path / "store").rglob("*.dcm"))
    content = bytearray(linked.read_bytes())
    content[-1] ^= 1
    linked.write_bytes(content)
    assert fingerprint(tmp_path / "study") != before


@needs_links
def test_a_folder_of_links_to_patients_is_a_list_of_them(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_slices(tmp_path / "store" / name, body())
        (tmp_path / "list").mkdir(exist_ok=True)
        (tmp_path / "list" / name).symlink_to(tmp_path / "store" / name, target_is_directory=True)
    assert list_inputs([tmp_path / "list"]) == [tmp_path / "list" / "first", tmp_path / "list" / "second"]


@needs_links
def test_each_folder_is_entered_once_and_none_above(tmp_path: Path) -> None:
    patient = tmp_path / "patient"
    (patient / "a").mkdir(parents=True)
    (tmp_path / "other.dcm").write_text("of another patient")
    for name in ("a/1", "2", ".hidden"):
        (patient / name).write_text("x")
    for name, target in {"again": patient / "a", "round": patient, "up": tmp_path, "a/up": patient,
                         "away": tmp_path / "nothing"}.items():
        (patient / name).symlink_to(target, target_is_directory=True)
    (patient / ".partial").mkdir()
    (patient / ".partial" / "3").write_text("x")
    assert [file.relative_to(patient).as_posix() for file in files_below(patient)] == ["2", "a/1"]


def test_a_folder_that_cannot_be_listed_is_an_error_or_passed_by(tmp_path: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    """Its slices would be missing from the CT; for whether a folder holds DICOM at all it does not count."""
    from PartialOrganSegLib.errors import UserError

    write_slices(tmp_path / "ct" / "b", body())
    (tmp_path / "ct" / "a").mkdir()
    listed = Path.iterdir

    def refuse(folder: Path) -> object:
        if folder.name == "a":
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)  # whoever runs the tests may be allowed to read everything
    with pytest.raises(PermissionError):
        list(dicom_files(tmp_path / "ct"))
    assert holds_dicom(tmp_path / "ct")
    for call in (read_ct, fingerprint):
        with pytest.raises(UserError, match="Permission denied") as error:
            call(tmp_path / "ct")
        assert "\n" not in str(error.value)


def test_volumes_and_slices_of_a_folder_are_both_cts(tmp_path: Path) -> None:
    """As dcm2niix leaves its file beside the slices; a report and a DICOMDIR beside a volume are no CT."""
    folder = write_slices(tmp_path / "both", body())
    volume = save(folder / "ct.nii.gz", body())
    assert list_inputs([folder]) == [folder, volume]
    report = write_slices(tmp_path / "report", body()[:1], SOPClassUID="1.2.840.10008.5.1.4.1.1.88.22", Modality="SR")
    (report / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    volume = save(report / "ct.nii.gz", body())
    assert list_inputs([report]) == [volume]


def test_a_run_says_what_it_does_with_volumes_beside_slices(tmp_path: Path) -> None:
    listener = Listener()
    folder = write_slices(tmp_path / "both", body())
    volume = save(folder / "ct.nii.gz", body())
    entries, failures = expand([folder], tmp_path / "out", listener)
    assert [entry.path for entry in entries] == [folder, volume]
    assert failures == []
    assert listener.warnings == [f"{folder}: holds DICOM slices and ct.nii.gz: both are taken as CTs"]
    listener.warnings.clear()
    write_slices(tmp_path / "above" / "patient 2", body())
    volume = save(tmp_path / "above" / "ct.nii.gz", body())
    entries, failures = expand([tmp_path / "above"], tmp_path / "above" / "out", listener)
    assert [entry.path for entry in entries] == [volume]
    assert listener.warnings == [f"{tmp_path / 'above'}: holds CTs in files, so its folders with DICOM files are left "
                                 "out (first: patient 2); name them as inputs to take them as well"]
