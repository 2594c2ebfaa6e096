"""Slices whose stored numbers cannot be told for certain are one line; those that can be read otherwise are right."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import RLELossless

from PartialOrganSegLib.formats.reading import read_ct
from Testing.helpers.dicom_files import write_enhanced, write_slices
from Testing.helpers.listener import Listener
from Testing.helpers.volume_files import body, refused


def altered(file: Path, **tags: object) -> None:
    """A file with attributes replaced or, with None, left out."""
    ct = dcmread(file)
    for name, value in tags.items():
        if value is None:
            del ct[name]
        else:
            setattr(ct, name, value)
    ct.save_as(file)


BAD = [({"PhotometricInterpretation": "RGB"}, "0028,0004"), ({"PhotometricInterpretation": "MONOCx2"}, "0028,0004"),
       ({"SamplesPerPixel": 3}, "0028,0002"), ({"BitsStored": None}, "0028,0101"), ({"BitsStored": 0}, "0028,0101"),
       ({"BitsStored": 272}, "0028,0101"), ({"HighBit": 11}, "0028,0102"), ({"BitsAllocated": 12}, "0028,0100"),
       ({"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, "bytes of pixels"),
       ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "bytes of pixels"), ({"Rows": 10}, "bytes of pixels"),
       ({"PixelRepresentation": None}, "0028,0103"), ({"PixelRepresentation": 7}, "0028,0103")]


@pytest.mark.parametrize(("tags", "named"), BAD)
@pytest.mark.parametrize("every", [False, True])
def test_stored_numbers_are_never_guessed(tmp_path: Path, tags: dict, named: str, every: bool) -> None:
    files = sorted(write_slices(tmp_path, body()).glob("*.dcm"))
    for file in files if every else files[4:5]:
        altered(file, **tags)
    refused(tmp_path, named, ".dcm")


def test_frames_are_looked_at_too(tmp_path: Path) -> None:
    altered(write_enhanced(tmp_path / "ct.dcm", body()), BitsStored=40)
    refused(tmp_path / "ct.dcm", "0028,0101", "ct.dcm")


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("packed", [False, True])
def test_monochrome1_keeps_its_numbers(tmp_path: Path, signed: int, packed: bool) -> None:
    # GDCM turns them round for showing: air would be dense.
    for file in write_slices(tmp_path, body()).glob("*.dcm"):
        ct = dcmread(file)
        ct.PhotometricInterpretation = "MONOCHROME1"
        if signed:
            ct.PixelData = (ct.pixel_array.astype(np.int16) - 1024).tobytes()
            ct.PixelRepresentation, ct.RescaleIntercept = 1, 0
        if packed:
            ct.compress(RLELossless)
        ct.save_as(file)
    listener = Listener()
    np.testing.assert_array_equal(read_ct(tmp_path, reporter=listener).array, body())
    assert not listener.warnings


def test_what_goes_without_saying_may_be_left_out(tmp_path: Path) -> None:
    for file in write_slices(tmp_path, body()).glob("*.dcm"):
        altered(file, PhotometricInterpretation=None, SamplesPerPixel=None, HighBit=None)
    np.testing.assert_array_equal(read_ct(tmp_path).array, body())


def test_an_icon_is_not_taken_for_the_pixels(tmp_path: Path) -> None:
    for file in write_slices(tmp_path, body()).glob("*.dcm"):
        icon = Dataset()
        icon.Rows = icon.Columns = 4
        icon.SamplesPerPixel, icon.PhotometricInterpretation = 1, "MONOCHROME2"
        icon.BitsAllocated = icon.BitsStored = 8
        icon.HighBit, icon.PixelRepresentation, icon.PixelData = 7, 0, bytes(16)
        altered(file, IconImageSequence=Sequence([icon]))
    np.testing.assert_array_equal(read_ct(tmp_path).array, body())


@pytest.mark.parametrize("signed", [0, 1])
def test_padding_above_all_tissue_is_air(tmp_path: Path, signed: int) -> None:
    highest = (1 << (16 - signed)) - 1
    outside = np.zeros(body().shape[1:], bool)
    outside[:2] = True
    for file in write_slices(tmp_path, body()).glob("*.dcm"):
        stored = dcmread(file).pixel_array.astype(np.int32)
        stored[outside] = highest
        altered(file, PixelRepresentation=signed, PixelData=stored.astype("<u2").tobytes())
        ct = dcmread(file)
        ct.add_new(0x00280120, "US", highest)
        ct.save_as(file)
    array = read_ct(tmp_path).array
    assert array.dtype == np.int16
    assert (array[:, outside] == -1024).all()
    np.testing.assert_array_equal(array[:, ~outside], body()[:, ~outside])


def test_another_unit_than_hu_is_reported(tmp_path: Path) -> None:
    files = sorted(write_slices(tmp_path / "slices", body()).glob("*.dcm"))
    for file in files[:3]:
        altered(file, RescaleType="EDW")
    enhanced = write_enhanced(tmp_path / "ct.dcm", body())
    ct = dcmread(enhanced)
    ct.PerFrameFunctionalGroupsSequence[2].PixelValueTransformationSequence[0].RescaleType = "EDW"
    ct.save_as(enhanced)
    for path in (tmp_path / "slices", enhanced):
        listener = Listener()
        read_ct(path, reporter=listener)
        assert "expected HU as Rescale Type (0028,1054), found 'EDW' in some slices" in listener.warnings[0]
