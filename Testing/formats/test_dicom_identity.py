"""Slices that do not agree whose they are: one line, and no file that refers to a wrong slice or person."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats.dicom_export import ENDINGS, write_dicom
from PartialOrganSegLib.formats.dicom_source import Maker, read_source
from PartialOrganSegLib.formats.reading import read_ct
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.organs import WORD16
from Testing.helpers.dicom_files import write_slices
from Testing.helpers.listener import Listener
from Testing.helpers.volume_files import body

COUNT = len(body())
WHICH: dict[str, Callable[[int], bool]] = {
    "one": lambda number: number == 3, "half": lambda number: number < COUNT // 2,
    "every other": lambda number: number % 2 == 0}
IDENTITY = {"PatientID": "4712", "PatientName": "Somebody^Else", "PatientBirthDate": "19660606", "PatientSex": "F",
            "StudyInstanceUID": "1.2.3.4",
            "FrameOfReferenceUID": "1.2.3.5"}


def changed(folder: Path, tag: str, value: str, which: Callable[[int], bool]) -> Path:
    """A series in which some slices have another value of an attribute."""
    series = write_slices(folder / "ct", body())
    for number, file in enumerate(sorted(series.iterdir())):
        if which(number):
            ct = dcmread(file)
            setattr(ct, tag, value)
            ct.save_as(file)
    return series


@pytest.mark.parametrize("which", WHICH.values(), ids=WHICH)
@pytest.mark.parametrize("tag", IDENTITY)
def test_slices_of_two_identities_are_one_line(tmp_path: Path, tag: str, which: Callable[[int], bool]) -> None:
    series = changed(tmp_path, tag, IDENTITY[tag], which)
    for call in (lambda: read_ct(series), lambda: read_source(series, None, Listener())):
        with pytest.raises(UserError, match="--series") as error:
            call()
        assert "\n" not in str(error.value)


def test_the_series_of_one_of_them_can_be_chosen(tmp_path: Path) -> None:
    series = changed(tmp_path, "PatientID", "4712", WHICH["half"])
    assert read_ct(series, "1").array.shape[0] == COUNT // 2
    source = read_source(series, "1", Listener())
    assert len({header.PatientID for header in source.headers}) == 1


def test_a_slice_without_a_uid_of_its_own_anywhere_is_refused(tmp_path: Path) -> None:
    """Anonymised in the data set; one UID for all in the files' meta information, which is what is left."""
    series, uid = write_slices(tmp_path / "ct", body()), generate_uid()
    for file in series.iterdir():
        ct = dcmread(file)
        del ct.SOPInstanceUID
        ct.file_meta.MediaStorageSOPInstanceUID = uid
        ct.save_as(file)
    with pytest.raises(UserError, match="expected a SOP Instance UID of its own for each slice"):
        read_source(series, None, Listener())


def test_files_refer_to_slices_of_the_ct_and_of_nobody_else(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    folder = tmp_path / "both"
    write_slices(folder / "other", body(), PatientID="4712", StudyInstanceUID="1.2.3.4", SeriesInstanceUID="1.2.3.4.5")
    ct_folder = write_slices(folder / "ct", body(), SeriesInstanceUID="1.2.3.9")
    volume = read_ct(folder, "1.2.3.9")
    labels = np.zeros(volume.array.shape, np.uint8)
    labels[3:6, 5:10, 5:10] = WORD16.index("liver")
    files = {kind: tmp_path / f"a{ending}" for kind, ending in ENDINGS.items()}
    write_dicom(files, Volume(labels, volume.grid), read_source(folder, "1.2.3.9", Listener()), WORD16.organs,
                Maker("a model", "1"))
    slices = {str(ct.SOPInstanceUID): ct for ct in map(dcmread, ct_folder.iterdir())}
    for file in files.values():
        written = dcmread(file)
        images = _images(written)
        assert images
        assert images <= set(slices)
        for ct in slices.values():
            for tag in (*IDENTITY, "PatientBirthDate", "PatientSex"):
                if tag != "FrameOfReferenceUID" or tag in written:
                    assert written[tag].value == ct[tag].value, tag


def _images(written: Dataset) -> set[str]:
    """The CT images that a file refers to."""
    images = set()
    for element in written.iterall():
        if element.VR == "SQ":
            for item in element.value:
                if "ReferencedSOPInstanceUID" in item and item.ReferencedSOPClassUID.name.startswith("CT "):
                    images.add(str(item.ReferencedSOPInstanceUID))
    return images
