"""Formats are registered: which file is whose, and a new one from outside in a file of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats.reading import list_inputs, read_ct, read_labelmap
from PartialOrganSegLib.formats.registry import (
    FORMATS,
    Format,
    ImageFormat,
    ImageWriter,
    SegmentationWriter,
    SeriesFormat,
    StrokeFormat,
    format_of,
    is_volume_name,
    stem_of,
    volume_suffixes,
    writer_of,
)
from PartialOrganSegLib.formats.strokes import Stroke, Strokes
from PartialOrganSegLib.formats.writing import write_ct, write_labelmap
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting.predictor import Predictor
from PartialOrganSegLib.segmenting.result_files import single_kind
from Testing.helpers import ready_python
from Testing.helpers.dicom_files import write_slices
from Testing.helpers.repository import ROOT
from Testing.helpers.threshold_network import threshold_bundle

MODULE = '''
import numpy as np
from PartialOrganSegLib.formats.registry import register_format
from PartialOrganSegLib.imaging.volume import Grid, Volume

@register_format
class NumPyArchive:
    """Voxels, spacing and origin in a NumPy archive."""
    name = "npz"
    suffixes = (".ct.npz", ".npz")

    def reads(self, path):
        return path.is_file() and path.name.endswith(".npz")

    def read(self, path, reporter):
        with np.load(path) as content:
            voxels = content["voxels"]
            return Volume(voxels, Grid(voxels.shape[::-1], tuple(content["spacing"].tolist()),
                                       tuple(content["origin"].tolist())))

    def write(self, path, volume):
        np.savez(path, voxels=volume.array, spacing=volume.grid.spacing, origin=volume.grid.origin)
'''
GRID = Grid((32, 32, 20), (4.0, 4.0, 4.0), (-60.0, -60.0, 10.0))


@pytest.fixture
def npz(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """A format that one file outside the package adds; gone after the test."""
    folder = tmp_path_factory.mktemp("their_format")
    (folder / "npz_format.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    # Importing the file is all that registers it.
    assert len(FORMATS) == 9
    import npz_format  # noqa: F401
    yield folder
    FORMATS.remove("npz")
    del sys.modules["npz_format"]


def ct_with_liver() -> Volume:
    array = np.full(GRID.shape, -900, np.int16)
    array[2:18, 4:28, 4:28] = 20
    array[4:12, 8:20, 8:20] = 200  # what the hand-made network calls liver
    return Volume(array, GRID)


def test_a_new_format_reads_segments_and_writes(npz: Path, tmp_path: Path):
    ct = ct_with_liver()
    write_ct(tmp_path / "scan.ct.npz", ct)
    read = read_ct(tmp_path / "scan.ct.npz")
    assert read.grid == GRID
    assert np.array_equal(read.array, ct.array)
    assert list_inputs([tmp_path]) == [tmp_path / "scan.ct.npz"]
    assert stem_of(tmp_path / "scan.ct.npz") == "scan"
    labels = Predictor(threshold_bundle(tmp_path)).predict(read).labels
    assert (labels.array == WORD16.index("liver")).sum() > 500
    assert single_kind(tmp_path / "labels.npz") == "labelmap"  # what `segment -o labels.npz` would write
    write_labelmap(tmp_path / "labels.npz", labels)
    assert np.array_equal(read_labelmap(tmp_path / "labels.npz").array, labels.array)
    assert {path.name for path in tmp_path.iterdir()} == {"scan.ct.npz", "labels.npz"}
    (tmp_path / "damaged.npz").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"damaged\.npz: expected a readable image, found a damaged one"):
        read_ct(tmp_path / "damaged.npz")


def test_an_installed_format_serves_the_command_line(npz: Path, tmp_path: Path):
    """Installed: a package on the path whose entry point names the class. Nothing of ours is touched."""
    metadata = npz / "npz_format-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: npz-format\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[partialorganseg.formats]\nnpz = npz_format:NumPyArchive\n")
    write_ct(tmp_path / "scan.npz", ct_with_liver())
    # A process of its own: entry points are looked up when the package starts.
    paths = os.pathsep.join([str(npz), str(ROOT), os.environ.get("PYTHONPATH", "")])
    for target in ("out", "organs.npz"):
        command = [ready_python.program(), "-m", "PartialOrganSegLib", "segment", str(tmp_path / "scan.npz"), "-o",
                   str(tmp_path / target), "--no-preview"]
        completed = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True,
                              check=False)
        assert completed.returncode == 0, completed.stderr
    labels = read_labelmap(tmp_path / "out" / "scan.labels.nii.gz")
    assert labels.grid.same_as(GRID)
    assert np.array_equal(read_labelmap(tmp_path / "organs.npz").array, labels.array)


def test_every_format_says_what_it_does():
    kinds = (ImageFormat, SeriesFormat, ImageWriter, SegmentationWriter, StrokeFormat)
    can = {}
    for name, file_format in FORMATS.items():
        can[name] = [kind.__name__ for kind in kinds if isinstance(file_format, kind)]
    image, organs = ["ImageFormat", "ImageWriter"], ["SegmentationWriter"]
    assert can == {"nifti": image, "nrrd": image, "metaimage": image, "dicom": ["SeriesFormat"], "seg": organs,
                   "labelmap-seg": organs, "rtstruct": organs, "seg.nrrd": organs, "strokes": ["StrokeFormat"]}
    assert all(isinstance(file_format, Format) and file_format.name == name for name, file_format in FORMATS.items())


@pytest.mark.parametrize(("name", "reader", "writer"), [
    ("a.nii.gz", "nifti", "nifti"), ("A.NII", "nifti", "nifti"), ("a.nrrd", "nrrd", "nrrd"), ("a.nhdr", "nrrd", None),
    ("a.mha", "metaimage", "metaimage"), ("a.mhd", "metaimage", None), ("a.seg.nrrd", "nrrd", "nrrd"),
    ("a.txt", None, None), (".nii.gz", "nifti", None), ("a.json", None, None)])
def test_the_name_chooses(tmp_path: Path, name: str, reader: str | None, writer: str | None):
    path = tmp_path / name
    path.write_bytes(b"")
    assert getattr(format_of(path), "name", None) == reader
    assert getattr(writer_of(path), "name", None) == writer
    path.unlink()
    path.mkdir()  # a folder is a series whatever it is called
    assert format_of(path).name == "dicom"


def test_content_chooses_where_names_say_nothing(tmp_path: Path):
    folder = write_slices(tmp_path / "series", np.zeros((3, 4, 4), np.int16))
    first = min(folder.iterdir())
    assert format_of(first).name == "dicom"
    assert format_of(first.rename(first.with_name("IM0001"))).name == "dicom"
    strokes = tmp_path / "drawn.json"
    # Other JSON files lie beside CTs, too: what makes one a stroke file is its content.
    content = Strokes(image="a", drawn_by="b", licence="c", strokes=[Stroke(organ="liver", points=[(0, 0, 0)])])
    FORMATS["strokes"].write_strokes(strokes, content)
    assert FORMATS["strokes"].reads(strokes)
    assert FORMATS["strokes"].read_strokes(strokes) == content
    (tmp_path / "other.json").write_text("{}")
    assert not FORMATS["strokes"].reads(tmp_path / "other.json")


def test_names_of_volumes_and_their_stems():
    assert volume_suffixes() == (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
    names = ["a.nii.gz", "a.seg.nrrd", "a.seg.dcm", "a.dcm", "a.mhd", "a.json", "a"]
    assert [name for name in names if is_volume_name(Path(name))] == ["a.nii.gz", "a.mhd"]
    assert [stem_of(Path(name)) for name in ("a.b.nii.gz", "A.NRRD", "a.dcm", "a.txt", ".nii")] == [
        "a.b", "A", "a", "a.txt", ".nii"]
