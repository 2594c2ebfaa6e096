"""Nothing that a DICOM slice does not say is made up, and two volumes are never read as one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import generate_uid

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats.reading import read_ct
from Testing.helpers.dicom_files import write_enhanced, write_slices
from Testing.helpers.listener import Listener
from Testing.helpers.volume_files import body, refused

SPACING, POSITION, ORIENTATION, SLOPE, INTERCEPT = 0x00280030, 0x00200032, 0x00200037, 0x00281053, 0x00281052
NAMES = {SPACING: "(0028,0030)", POSITION: "(0020,0032)", ORIENTATION: "(0020,0037)", SLOPE: "(0028,1053)"}


def changed(folder: Path, change: Callable[[Dataset, int], None]) -> Path:
    """A series whose files were changed, each with its place in the order of names."""
    for number, file in enumerate(sorted(folder.glob("*.dcm"))):
        ct = dcmread(file)
        change(ct, number)
        ct.save_as(file)
    return folder


def with_raw(tag: int, value: bytes | None) -> Callable[[Dataset, int], None]:
    """Replaces an attribute by bytes as they are, or takes it away."""
    def change(ct: Dataset, _number: int) -> None:
        if value is None:
            del ct[tag]
        else:
            # Past pydicom's own checks, which would not let such a value be set.
            ct._dict[Tag(tag)] = RawDataElement(Tag(tag), "DS", len(value), value, 0, False, True)
    return change


@pytest.mark.parametrize(("tag", "value"), [
    (SPACING, None), (SPACING, b""), (SPACING, b"0\\0 "), (SPACING, b"1 mm"), (SPACING, b"-1\\1"), (SPACING, b"0.8 "),
    (SPACING, b"nan\\1 "), (POSITION, None), (POSITION, b""), (POSITION, b"1\\2 "), (POSITION, b"a\\b\\c "),
    (ORIENTATION, None), (ORIENTATION, b""), (ORIENTATION, b"0\\0\\0\\0\\0\\0 "), (ORIENTATION, b"1\\0\\0\\1\\0\\0 "),
    (ORIENTATION, b"2\\0\\0\\0\\2\\0 "), (SLOPE, b"0 "), (SLOPE, b"x "), (SLOPE, b"inf "),
    (SLOPE, b"65535 "), (SLOPE, b"1e300 ")])
def test_missing_or_impossible_attribute_names_file_and_tag(tmp_path: Path, tag: int, value: bytes | None) -> None:
    changed(write_slices(tmp_path, body()), with_raw(tag, value))
    line = refused(tmp_path, NAMES[tag], ".dcm")
    assert "none" in line if not value else "found" in line


def test_one_slice_without_a_place_is_not_left_out(tmp_path: Path) -> None:
    def change(ct: Dataset, number: int) -> None:
        if number == 5:
            del ct.PixelSpacing

    refused(changed(write_slices(tmp_path, body()), change), "(0028,0030)", "im005.dcm")


def test_slices_without_rescale_are_hu_and_reported(tmp_path: Path) -> None:
    def stored_as_hu(ct: Dataset, _number: int) -> None:
        del ct.RescaleSlope, ct.RescaleIntercept
        ct.PixelRepresentation = 1
        ct.PixelData = (ct.pixel_array.astype(np.int16) - 1024).tobytes()

    listener = Listener()
    volume = read_ct(changed(write_slices(tmp_path / "a", body()), stored_as_hu), reporter=listener)
    np.testing.assert_array_equal(volume.array, body())
    assert "(0028,1053" in listener.warnings[0]

    # With rescale in some slices only, the others' values may be HU or not: no guess is made.
    def some(ct: Dataset, number: int) -> None:
        if number % 2:
            del ct.RescaleSlope, ct.RescaleIntercept

    refused(changed(write_slices(tmp_path / "b", body()), some), "as other slices have", force=True)


def test_slices_whose_headers_round_differently_are_one_series(tmp_path: Path) -> None:
    def change(ct: Dataset, number: int) -> None:
        ct.PixelSpacing = ["0.78125", "0.78125"] if number % 2 else ["0.781251", "0.78125"]
        # Two roundings of the same orientation, on both sides of the fourth decimal.
        turn = "0.0005001" if number % 2 else "0.0004999"
        ct.ImageOrientationPatient = ["1", turn, "0", f"-{turn}", "1", "0"]

    np.testing.assert_array_equal(read_ct(changed(write_slices(tmp_path, body()), change)).array, body())


@pytest.mark.parametrize("attribute", ["ConvolutionKernel", "TemporalPositionIdentifier", "KVP", "AcquisitionTime",
                                       "ScanOptions", "TriggerTime", "ContentTime"])
def test_two_volumes_in_one_series_are_told_apart(tmp_path: Path, attribute: str) -> None:
    values = {"ConvolutionKernel": ("Br36", "Br64"), "TemporalPositionIdentifier": (1, 2), "KVP": (80, 140),
              "AcquisitionTime": ("101010", "101110"), "ScanOptions": ("70PCT", "30PCT"), "TriggerTime": (10, 400),
              "ContentTime": ("101010", "101110")}[attribute]
    first, second = body(), body() + 7
    common = {"SeriesInstanceUID": "1.2.3", "StudyInstanceUID": "1.2", "FrameOfReferenceUID": "1.3"}
    # Kernel, phase, energy or time: any of them makes a second reconstruction of the same slices.
    for name, array, value in (("a", first, values[0]), ("b", second, values[1])):
        def change(ct: Dataset, _number: int, value: object = value) -> None:
            setattr(ct, attribute, value)

        changed(write_slices(tmp_path / name, array, **common), change)
    refused(tmp_path, "2 ", "--series", str(values[0]).rstrip("."))
    for number, array in ((1, first), (2, second)):
        np.testing.assert_array_equal(read_ct(tmp_path, series=str(number)).array, array)


def test_two_volumes_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    common = {"SeriesInstanceUID": "1.2.3", "StudyInstanceUID": "1.2", "FrameOfReferenceUID": "1.3"}
    write_slices(tmp_path / "a", body(), **common)
    write_slices(tmp_path / "b", body() + 7, **common)
    refused(tmp_path, "24 images at 12 places")
    # Copies of the same images are no second volume.
    for file in (tmp_path / "b").iterdir():
        file.write_bytes((tmp_path / "a" / file.name).read_bytes())
    np.testing.assert_array_equal(read_ct(tmp_path).array, body())


def test_acquisition_times_that_change_in_a_scan_do_not_cut_it(tmp_path: Path) -> None:
    def change(ct: Dataset, number: int) -> None:
        # Bolus tracking and dose modulation change such values within one scan.
        ct.AcquisitionTime = ct.ContentTime = f"1010{number // 2:02d}"
        ct.ConvolutionKernel = "Br36" if number % 3 else "Br40"

    np.testing.assert_array_equal(read_ct(changed(write_slices(tmp_path, body()), change)).array, body())


def test_pictures_beside_the_slices_are_left_out(tmp_path: Path) -> None:
    """Dose reports and screens that call themselves CT, without any place."""
    uid = generate_uid()
    write_slices(tmp_path, body(), SeriesInstanceUID=uid)
    for number in range(3):
        report = dcmread(tmp_path / "im000.dcm")
        report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
        report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        del report.ImagePositionPatient, report.ImageOrientationPatient, report.PixelSpacing
        report.SeriesDescription = "Dose Report"
        report.save_as(tmp_path / f"dose{number}.dcm")
    listener = Listener()
    np.testing.assert_array_equal(read_ct(tmp_path, reporter=listener).array, body())
    assert "Dose Report" in listener.warnings[0]


def test_frames_and_groups_of_other_number_are_refused(tmp_path: Path) -> None:
    file = write_enhanced(tmp_path / "ct.dcm", body())
    ct = dcmread(file)
    ct.PerFrameFunctionalGroupsSequence = ct.PerFrameFunctionalGroupsSequence[:3]
    ct.save_as(file)
    refused(file, "functional group", "12 frames", "3")


@pytest.mark.parametrize(("macro", "attribute", "value"), [
    ("PixelValueTransformationSequence", "RescaleSlope", "0"),
    ("PixelValueTransformationSequence", "RescaleSlope", "65535"),
    ("PixelValueTransformationSequence", "RescaleIntercept", "1e9"),
    ("PlanePositionSequence", "ImagePositionPatient", None)])
def test_frame_attributes(tmp_path: Path, macro: str, attribute: str, value: str | None) -> None:
    file = write_enhanced(tmp_path / "ct.dcm", body())
    ct = dcmread(file)
    setattr(ct.PerFrameFunctionalGroupsSequence[3][macro][0], attribute, value)
    ct.save_as(file)
    refused(file, attribute, "frame 4")


def test_frame_without_rescale_beside_others_is_refused(tmp_path: Path) -> None:
    file = write_enhanced(tmp_path / "ct.dcm", body())
    ct = dcmread(file)
    del ct.PerFrameFunctionalGroupsSequence[3].PixelValueTransformationSequence
    ct.save_as(file)
    refused(file, "RescaleSlope", "frame 4")


def test_frames_of_two_volumes_in_one_file_are_listed(tmp_path: Path) -> None:
    array = np.concatenate([body(), body() + 7])
    positions = np.array([[-100.0, -90.0, 40.0 + 5 * (number % 12)] for number in range(24)])
    file = write_enhanced(tmp_path / "ct.dcm", array, positions=positions)
    ct = dcmread(file)
    for number, frame in enumerate(ct.PerFrameFunctionalGroupsSequence):
        frame.FrameContentSequence[0].TemporalPositionIndex = 1 + number // 12
    ct.save_as(file)
    refused(file, "temporal position 1", "temporal position 2")
    np.testing.assert_array_equal(read_ct(file, series="2").array, body() + 7)


@pytest.mark.parametrize(("syntax", "name"), [("1.2.840.10008.1.2.4.201", "High-Throughput JPEG 2000"),
                                              ("1.2.840.10008.1.2.4.110", ""), ("1.2.840.99999.1.2.4.201", "unknown")])
def test_compression_that_cannot_be_decoded_is_named(tmp_path: Path, syntax: str, name: str) -> None:
    for file in write_slices(tmp_path, body()).glob("*.dcm"):
        ct = dcmread(file)
        ct.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"
        ct.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(200)])
        ct["PixelData"].VR = "OB"
        # As DICOM stores encapsulated pixels.
        ct["PixelData"].is_undefined_length = True
        ct.save_as(file)
        file.write_bytes(file.read_bytes().replace(b"1.2.840.10008.1.2.4.201", syntax.encode()))
    with pytest.raises(UserError, match=r"\.dcm: expected pixels in a transfer syntax") as caught:
        read_ct(tmp_path)
    for word in (syntax, name, "can decode it"):
        assert word in str(caught.value)


def test_files_without_preamble_are_read(tmp_path: Path) -> None:
    for file in write_slices(tmp_path, body()).glob("*.dcm"):
        # Old archives leave out the preamble and its "DICM".
        file.write_bytes(file.read_bytes()[132:])
    np.testing.assert_array_equal(read_ct(tmp_path).array, body())


@pytest.mark.parametrize(("attribute", "values"), [("KVP", (80, 140)), ("TemporalPositionIdentifier", (1, 2))])
def test_two_scans_between_each_others_slices_are_listed(tmp_path: Path, attribute: str, values: tuple) -> None:
    """Every other slice of another voltage or time point: a regular volume of nothing that was ever scanned."""
    changed(write_slices(tmp_path, body()), lambda ct, number: setattr(ct, attribute, values[number % 2]))
    refused(tmp_path, "found 2", "6 slices")


@pytest.mark.parametrize("content", [b"", bytes(2000), b"<html>"])
def test_files_that_only_call_themselves_dicom_are_reported(tmp_path: Path, content: bytes) -> None:
    files = sorted(write_slices(tmp_path, body()).glob("*.dcm"))
    files[-1].write_bytes(content)
    listener = Listener()
    read_ct(tmp_path, reporter=listener)
    assert files[-1].name in listener.warnings[0]
    assert "expected a DICOM file, found" in listener.warnings[0]
