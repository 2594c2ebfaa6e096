"""Headers that claim too much, name files elsewhere or would crash a reader end in one line, and nothing is read."""

import gzip
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from Testing.helpers.listener import Listener
from Testing.helpers.repository import ROOT
from Testing.helpers.volume_files import body, patched, refused, save

NRRD = {"type": "int16", "dimension": "3", "space": "left-posterior-superior", "sizes": "24 20 12",
        "space directions": "(1,0,0) (0,1,0) (0,0,2)", "endian": "little", "encoding": "raw"}
MHA = {"ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
       "CompressedData": "False", "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "0 0 0",
       "ElementSpacing": "1 1 2", "DimSize": "24 20 12", "ElementType": "MET_SHORT", "ElementDataFile": "LOCAL"}
# Both headers are written by hand: no library would write what follows.
VOXELS = body().astype("<i2").tobytes()


def nrrd(path: Path, voxels: bytes = VOXELS, **changes: str | None) -> Path:
    """A NRRD file with fields changed, added ("data_file") or, with None, left out."""
    fields = {**NRRD, **{name.replace("_", " "): text for name, text in changes.items()}}
    lines = [f"{name}: {text}" for name, text in fields.items() if text is not None]
    path.write_bytes("\n".join(["NRRD0004", *lines, "", ""]).encode() + voxels)
    return path


def mha(path: Path, voxels: bytes = VOXELS, **changes: str | None) -> Path:
    """A MetaImage file likewise; ElementDataFile stays the last field."""
    fields = {**MHA, **changes}
    data = fields.pop("ElementDataFile")
    lines = [f"{name} = {text}" for name, text in fields.items() if text is not None]
    path.write_bytes("\n".join([*lines, f"ElementDataFile = {data}", ""]).encode() + voxels)
    return path


def nifti(path: Path, offset: int = 0, kinds: str = "", *values: float) -> Path:
    """A .nii with numbers of its header replaced."""
    return patched(save(path, body()), offset, kinds, *values)


def test_unchanged_files_are_read(tmp_path: Path) -> None:
    listener = Listener()
    for path in (nrrd(tmp_path / "a.nrrd"), mha(tmp_path / "a.mha"), save(tmp_path / "a.nii", body())):
        np.testing.assert_array_equal(read_ct(path, reporter=listener).array, body())
    assert not listener.warnings


BAD_NRRD = {
    "claims 16 GB": ({"sizes": "2000 2000 2000"}, "header"), "claims more packed": (
        {"sizes": "9000 9000 9000", "encoding": "gzip"}, "header"), "no size": ({"sizes": "24 0 12"}, "sizes"),
    "negative": ({"sizes": "24 -20 12"}, "sizes"), "digits": ({"sizes": f"{'9' * 5000} 1 1"}, "sizes"),
    "two sizes": ({"sizes": "24 20"}, "sizes"), "many axes": ({"dimension": "16"}, "3-D"),
    "no dimension": ({"dimension": None}, "dimension"), "long line": ({"content": "A" * 5_000_000}, "lines"),
    "no direction of an axis": ({"space directions": "(1,0,0) (0,1,0) none"}, "space directions"),
    "no spacing": ({"space directions": None, "space": None}, "size of its voxels"),
    "spacing nan": ({"space directions": None, "space": None, "spacings": "1 nan 1"}, "spacings"),
    "metres": ({"space units": '"m" "m" "m"'}, "millimetres"), "type": ({"type": "block"}, "type"),
    "encoding": ({"encoding": "zrl"}, "encoding"), "unread encoding": (
        {"encoding": "bzip2"}, "expected raw or gzip"), "outside": ({"data file": "../../etc/passwd"}, "own folder"),
    "absolute": ({"data file": "/etc/passwd"}, "own folder"), "pattern": ({"data file": "%n%n%s 1 3 1"}, "FIRST LAST"),
    "drive": ({"data file": "C:x.raw"}, "own folder"), "device": ({"data file": "/dev/zero"}, "own folder"),
    "missing": ({"data file": "x.raw"}, "no such file"),
    "a year of files": ({"data file": "a%d.raw 1 999999999 1"}, "files of voxels"),
    "surplus": ({"sizes": "24 20 9"}, "more than its header says"), "twice": ({"kinds": "a\nkinds: b"}, "second time"),
    "long number": ({"space origin": f"({'9' * 5000},0,0)"}, "letters"),
    "many words": ({"centers": "cell " * 400}, "at most 800 letters"),
    "many vectors": ({"measurement frame": "(1,0,0) " * 300}, "at most 800 letters"),
    "unknown field": ({"[" * 2000: "domain"}, "fields of a NRRD header"),
    "tiny": ({"space directions": "(1e-30,0,0) (0,1,0) (0,0,2)"}, "mm"),
    "huge": ({"space directions": "(1e9,0,0) (0,1,0) (0,0,2)"}, "mm"),
    "far": ({"space origin": "(1e30,0,0)"}, "origin"),
}


@pytest.mark.parametrize("name", list(BAD_NRRD))
def test_nrrd_is_refused(tmp_path: Path, name: str) -> None:
    changes, reason = BAD_NRRD[name]
    # Not even `force` lets it pass; and a header's own text never floods the line.
    path = nrrd(tmp_path / "a.nrrd", **changes)
    assert len(refused(path, reason, force=True)) < 400


@pytest.mark.parametrize("keys", [("LabelValue", "Layer", "Name"), ("ID", "Name")])  # of today's Slicer, of 4.10
def test_layers_of_a_segmentation_are_refused_with_the_way_out(tmp_path: Path, keys: tuple[str, ...]) -> None:
    segments = {f"Segment{number}_{key}": "=1" for number in (0, 1) for key in keys}
    path = nrrd(tmp_path / "Müller 1.seg.nrrd", bytes(2 * 24 * 20 * 12), type="uint8", dimension="4",
                sizes="2 24 20 12", space_directions="none (1,0,0) (0,1,0) (0,0,2)",
                kinds="list domain domain domain")
    plain, separator, voxels = path.read_bytes().partition(b"\n\n")
    lines = "".join(f"\n{key}:{value}" for key, value in segments.items())
    path.write_bytes(plain + lines.encode() + separator + voxels)
    with pytest.raises(UserError, match=r"found 2 layers.*Slicer's module Segmentations.*Collapse labelmap layers"):
        read_labelmap(path, segmentations=True)


@pytest.mark.parametrize("beside", [False, True])
def test_a_packed_nrrd_holds_as_many_voxels_as_its_header_says(tmp_path: Path, beside: bool) -> None:
    folder = tmp_path / "Müller J"
    folder.mkdir()
    half = len(VOXELS) // 2
    for packed in (gzip.compress(VOXELS), gzip.compress(VOXELS[:half]) + gzip.compress(VOXELS[half:])):
        data = "a.raw.gz" if beside else None
        if beside:
            (folder / data).write_bytes(packed)
            packed = b""
        more = nrrd(folder / "more.nhdr", packed, encoding="gzip", sizes="24 20 9", data_file=data)
        refused(more, "2880 bytes more than its header says", force=True)
        whole = nrrd(folder / "whole.nhdr", packed, encoding="gzip", data_file=data)
        np.testing.assert_array_equal(read_ct(whole, force=True).array, body())
    refused(nrrd(folder / "cut.nrrd", gzip.compress(VOXELS)[:-30], encoding="gzip"), "damage")


def hex_of(array: np.ndarray) -> bytes:
    return array.astype("<i2").tobytes().hex().encode()


def words_of(array: np.ndarray) -> bytes:
    return ", ".join(map(str, array.ravel().tolist())).encode()


@pytest.mark.parametrize("at_once", [7, 1 << 20])
@pytest.mark.parametrize(("encoding", "written"), [("ascii", words_of), ("hex", hex_of)])
def test_a_nrrd_in_letters_holds_as_many_numbers_as_its_header_says(
        tmp_path: Path, encoding: str, written: Callable[[np.ndarray], bytes], at_once: int,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PartialOrganSegLib.formats.checks._AT_ONCE", at_once)
    folder = tmp_path / "Müller J"
    folder.mkdir()
    text = written(body())
    for data in (None, "voxels.txt"):
        (folder / "voxels.txt").write_bytes(text)
        inside = b"" if data else text
        whole = nrrd(folder / "whole.nhdr", inside, encoding=encoding, data_file=data)
        np.testing.assert_array_equal(read_ct(whole).array, body())
        more = nrrd(folder / "more.nhdr", inside, encoding=encoding, sizes="24 20 9", data_file=data)
        refused(more, "expected 4320 numbers, as its header says, found 5760", force=True)
    np.testing.assert_array_equal(read_ct(nrrd(folder / "line.nrrd", text + b"\n", encoding=encoding)).array, body())


@pytest.mark.parametrize("beside", [False, True])
def test_a_metaimage_in_letters_holds_as_many_numbers_as_its_header_says(tmp_path: Path, beside: bool) -> None:
    text = words_of(body()).replace(b",", b"") + b"\n"
    folder = tmp_path / "Müller J"
    folder.mkdir()
    (folder / "voxels.txt").write_bytes(text)
    data = "voxels.txt" if beside else "LOCAL"
    inside = b"" if beside else text
    whole = mha(folder / "whole.mha", inside, BinaryData="False", ElementDataFile=data)
    np.testing.assert_array_equal(read_ct(whole).array, body())
    more = mha(folder / "more.mha", inside, BinaryData="False", ElementDataFile=data, DimSize="24 20 9")
    refused(more, "expected 4320 numbers, as its header says, found 5760", force=True)


@pytest.mark.parametrize("data", ["LOCAL", "voxels.txt"])
def test_a_metaimage_in_letters_that_ends_with_a_digit_says_what_to_do(tmp_path: Path, data: str) -> None:
    """ITK reads none, and what it says of it is that the file cannot be opened."""
    text = words_of(body()).replace(b",", b"")
    (tmp_path / "voxels.txt").write_bytes(text)
    path = mha(tmp_path / "a.mha", text if data == "LOCAL" else b"", BinaryData="False", ElementDataFile=data)
    file = path if data == "LOCAL" else tmp_path / data
    refused(path, f"expected a line break after the last number, found none in {file.name}", force=True)
    with open(file, "ab") as stream:
        stream.write(b"\n")
    np.testing.assert_array_equal(read_ct(path).array, body())


def test_a_metaimage_in_letters_may_be_smaller_than_its_voxels(tmp_path: Path) -> None:
    labels = np.zeros((12, 20, 24), int)
    labels[5, 5, 5] = 3
    text = words_of(labels).replace(b",", b"") + b"\n"
    for kind in ("MET_UCHAR", "MET_INT", "MET_DOUBLE"):
        path = mha(tmp_path / "a.mha", text, BinaryData="False", ElementType=kind)
        np.testing.assert_array_equal(read_labelmap(path).array, labels)


def test_bytes_that_are_skipped_are_none_of_the_voxels(tmp_path: Path) -> None:
    whole = nrrd(tmp_path / "whole.nrrd", b"note" + VOXELS, byte_skip="4")
    np.testing.assert_array_equal(read_ct(whole).array, body())
    more = nrrd(tmp_path / "more.nrrd", b"note" + VOXELS, byte_skip="4", sizes="24 20 9")
    refused(more, "2880 bytes more than its header says", force=True)


BAD_MHA = {
    "axes": ({"NDims": "-3"}, "NDims"), "a million axes": ({"NDims": "1000000"}, "3-D"),
    "claims": ({"DimSize": "2000 2000 2000"}, "header"), "format": ({"ElementDataFile": "%n%n%s 1 3 1"}, "FIRST LAST"),
    "two formats": ({"ElementDataFile": "%d%s.raw 1 3 1"}, "FIRST LAST"), "no spacing": (
        {"ElementSpacing": None}, "size of its voxels"), "negative spacing": ({"ElementSpacing": "1 -1 2"}, "positive"),
    "nan": ({"ElementSpacing": "1 nan 2"}, "positive"), "words": ({"ElementSpacing": "1 x 2"}, "positive"),
    "type": ({"ElementType": "MET_STRING"}, "ElementType"), "outside": ({"ElementDataFile": "../x.raw"}, "own folder"),
    "absolute": ({"ElementDataFile": "/dev/zero"}, "own folder"), "missing": ({"ElementDataFile": "x.raw"}, "no such"),
    "drive": ({"ElementDataFile": "C:x.raw"}, "own folder"),
    "unit": ({"DistanceUnits": "m"}, "DistanceUnits"), "slope": ({"ElementToIntensityFunctionSlope": "2"}, "HU"),
    "no size": ({"DimSize": None}, "DimSize"), "surplus": ({"DimSize": "24 20 9"}, "more than its header says"),
    "list": ({"ElementDataFile": "LIST"}, "files of voxels"),
    "matrix": ({"TransformMatrix": "1 0 0"}, "TransformMatrix"),
    "two origins": ({"Origin": "9 9 9", "Offset": "1 2 3"}, "one value, found"),
    "two rotations": ({"Orientation": "0 1 0 1 0 0 0 0 1"}, "one value, found"),
    "two spacings": ({"ElementSize": "7 7 7"}, "one value, found"),
    "two byte orders": ({"ElementByteOrderMSB": "True"}, "one value, found"),
    "header as voxels": ({"HeaderSize": "50"}, "where its voxels begin"),
    "packed, of unknown size": ({"CompressedData": "True"}, "CompressedDataSize"),
    "packed, by a number": ({"CompressedData": "1"}, "CompressedDataSize"),
    "a flag in other words": ({"CompressedData": "yes"}, "True or False"),
    "another flag": ({"BinaryDataByteOrderMSB": "big"}, "True or False"),
    "channels": ({"ElementNumberOfChannels": "100000"}, "header"), "long": ({"Comment": "A" * 5_000_000}, "lines"),
}


@pytest.mark.parametrize("name", list(BAD_MHA))
def test_metaimage_is_refused(tmp_path: Path, name: str) -> None:
    changes, reason = BAD_MHA[name]
    # For LIST the names of files stand where the voxels would.
    voxels = b"" if name == "list" else VOXELS
    assert len(refused(mha(tmp_path / "a.mha", voxels, **changes), reason, force=True)) < 400


BAD_NIFTI = {
    "header as voxels": ((108, "f", 100.0), "vox_offset"), "offset nan": ((108, "f", float("nan")), "vox_offset"),
    "offset beyond": ((108, "f", 1e9), "bytes of voxels"), "claims 16 GB": ((42, "3h", 2000, 2000, 2000), "header"),
    "no rotation": ((252, "2h6f", 1, 0, 1, 1, 1, 0, 0, 0), "a quaternion of length 1"),
    "slope nan": ((112, "f", float("nan")), "scl_slope"), "intercept": ((116, "f", float("inf")), "scl_slope"),
    "unit": ((123, "B", 5), "unit of length"), "metres": ((123, "B", 1), "mm"), "tiny": ((80, "f", 1e-30), "mm"),
    "surplus": ((46, "h", 9), "more than its header says"), "pair": ((344, "B3s", 110, b"i1\0"), ".img"),
}


@pytest.mark.parametrize("name", list(BAD_NIFTI))
def test_nifti_is_refused(tmp_path: Path, name: str) -> None:
    change, reason = BAD_NIFTI[name]
    refused(nifti(tmp_path / "a.nii", *change), reason, force=True)


def test_packed_nifti_of_nothing_but_zeros_is_refused(tmp_path: Path) -> None:
    header = save(tmp_path / "a.nii", body()).read_bytes()[:352]
    small, claims = tmp_path / "trailing.nii.gz", tmp_path / "claims.nii.gz"
    # A gigabyte after the voxels in a megabyte of file: the end is never looked for.
    small.write_bytes(gzip.compress(header + VOXELS) + gzip.compress(bytes(16 << 20), 1) * 64)
    refused(small, "more than its header says")
    huge = bytearray(header)
    struct.pack_into("<3h", huge, 42, 20_000, 20_000, 20_000)
    claims.write_bytes(gzip.compress(bytes(huge)) + gzip.compress(bytes(1 << 20)))
    refused(claims, "header")


def test_offset_of_zero_means_behind_the_header(tmp_path: Path) -> None:
    listener = Listener()
    np.testing.assert_array_equal(read_ct(nifti(tmp_path / "a.nii", 108, "f", 0.0), reporter=listener).array, body())
    assert "vox_offset" in listener.warnings[0]


def test_packed_metaimage_needs_the_size_of_its_voxels(tmp_path: Path) -> None:
    labels = np.zeros((12, 20, 24), np.uint8)
    labels[3:9, 5:15, 5:15] = 3
    packed = zlib.compress(labels.tobytes())
    # Without it ITK unpacks nothing: no voxel would have a label.
    refused(mha(tmp_path / "a.mha", packed, CompressedData="True", ElementType="MET_UCHAR"),
            f"'CompressedDataSize = {len(packed)}'", call=read_labelmap)
    for flag in ("True", "true", "T", "1"):
        whole = mha(tmp_path / "b.mha", packed, CompressedData=flag, ElementType="MET_UCHAR",
                    CompressedDataSize=str(len(packed)))
        np.testing.assert_array_equal(read_labelmap(whole).array, labels)


def test_files_without_orientation_are_reported(tmp_path: Path) -> None:
    files = {"no 'space directions'": nrrd(tmp_path / "a.nrrd", **{"space directions": None, "space": None,
                                                                  "spacings": "1 1 2"}),
             "no 'space'": nrrd(tmp_path / "b.nrrd", space=None, dimension="3\nspace dimension: 3"),
             "TransformMatrix": mha(tmp_path / "a.mha", TransformMatrix=None),
             "qform_code and sform_code": nifti(tmp_path / "a.nii", 252, "2h", 0, 0)}
    for reason, path in files.items():
        listener = Listener()
        np.testing.assert_array_equal(read_ct(path, reporter=listener).array, body())
        assert reason in listener.warnings[0]
        assert "left and right may be swapped" in listener.warnings[0]


def test_pairs_are_refused_with_the_way_out(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(body())
    sitk.WriteImage(image, str(tmp_path / "ct.hdr"))
    for name in ("ct.hdr", "ct.img"):
        refused(tmp_path / name, ".nii.gz")
        refused(tmp_path / name, ".nii.gz", call=read_labelmap)


def test_voxels_beside_the_header_are_read(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "v 1.raw").write_bytes(VOXELS)
    plane = len(VOXELS) // 12
    for number in range(12):
        (tmp_path / f"s{number + 1:02d}.raw").write_bytes(VOXELS[number * plane:(number + 1) * plane])
    names = "".join(f"s{number:02d}.raw\n" for number in range(1, 13))
    files = [nrrd(tmp_path / "a.nhdr", b"", data_file="sub/v 1.raw"), mha(tmp_path / "a.mhd", b"",
                                                                         ElementDataFile="sub/v 1.raw"),
             nrrd(tmp_path / "b.nhdr", b"", data_file="s%02d.raw 1 12 1"),
             mha(tmp_path / "b.mhd", b"", ElementDataFile="s%02d.raw 1 12 1"),
             mha(tmp_path / "c.mhd", names.encode(), ElementDataFile="LIST")]
    for path in files:
        np.testing.assert_array_equal(read_ct(path).array, body())


@pytest.mark.parametrize(("parts", "data", "ending", "reason"), [
    ([1] * 12, "LIST", "", "a line break after the last"),
    ([2] * 6, "LIST", "\n", "for each of its 12 slices, found 6 files"),
    ([12], "LIST", "\n", "for each of its 12 slices, found 1 files"),
    ([12], "LIST 3D", "\n", "LIST, a file a slice"),
    ([2] * 6, "p%02d.raw 0 5 1", None, "for each of its 12 slices, found 6 files"),
    ([0] + [1] * 10 + [2], "LIST", "\n", "p00.raw: expected the 960 bytes of a slice of a.mhd")])
def test_metaimages_of_files_that_are_no_slices_are_refused(tmp_path: Path, parts: list[int], data: str,
                                                            ending: str | None, reason: str) -> None:
    """ITK reads a slice of each, and gives what lay in its memory before for all others."""
    plane, start, names = len(VOXELS) // 12, 0, []
    for number, slices in enumerate(parts):
        names.append(f"p{number:02d}.raw")
        (tmp_path / names[-1]).write_bytes(VOXELS[start * plane:(start + slices) * plane])
        start += slices
    listed = "" if ending is None else "\n".join(names) + ending
    refused(mha(tmp_path / "a.mhd", listed.encode(), ElementDataFile=data), reason)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX's")
@pytest.mark.parametrize("make", [nrrd, mha])
def test_nothing_is_allocated_for_a_claim(tmp_path: Path, make: Callable[..., Path]) -> None:
    """2 GiB of address space are enough to refuse 16 GB."""
    size = {"sizes": "2000 2000 2000"} if make is nrrd else {"DimSize": "2000 2000 2000"}
    path = make(tmp_path / ("a.nrrd" if make is nrrd else "a.mha"), **size)
    # In a process apart: the limit would stay for every later test of this one.
    code = ("import resource, sys; from PartialOrganSegLib.formats.reading import read_ct\n"
            "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
            "try: read_ct(sys.argv[1])\nexcept Exception as error: print(type(error).__name__)")
    completed = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True,
                               cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert completed.stdout.strip() == "UserError"


def test_pipe_as_voxels_is_not_waited_for(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes in this system's folders")
    os.mkfifo(tmp_path / "v.raw")
    refused(nrrd(tmp_path / "a.nhdr", b"", data_file="v.raw"), "no regular file")
