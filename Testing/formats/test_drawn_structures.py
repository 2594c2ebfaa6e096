"""RT structure sets and DICOM SEG, read back onto the CT's grid: the voxels that were written, whatever the axes."""

from __future__ import annotations

import contextlib
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats import dicom_lengths, dicom_references
from PartialOrganSegLib.formats.dicom_seg import write_dicom_seg
from PartialOrganSegLib.formats.dicom_source import Maker
from PartialOrganSegLib.formats.drawn_structures import read_structures
from PartialOrganSegLib.formats.rtstruct import write_rtstruct
from PartialOrganSegLib.formats.rtstruct_reading import inside as filled
from PartialOrganSegLib.imaging.volume import Grid
from PartialOrganSegLib.organs import WORD16
from Testing.helpers.dicom_cases import make_case
from Testing.helpers.dicom_files import OBLIQUE, PRONE, UPRIGHT, inside

MAKER = Maker("test", "1")
WRITERS = {"rtstruct": write_rtstruct, "seg": write_dicom_seg,
           "labelmap": lambda *arguments: write_dicom_seg(*arguments, labelmap=True)}


@pytest.mark.parametrize("axes", [UPRIGHT, OBLIQUE, PRONE])
@pytest.mark.parametrize("kind", list(WRITERS))
def test_what_was_written_is_read_voxel_by_voxel(kind, axes, tmp_path):
    source, labels = make_case(tmp_path / "ct", axes)
    path = tmp_path / "struct.dcm"
    WRITERS[kind](path, source.on_slices(labels), source, WORD16.organs, MAKER)
    structures = read_structures(path)
    assert structures.series_uid == source.headers[0].SeriesInstanceUID
    masks = dict(structures.masks(labels.grid))
    present = set(np.unique(labels.array).tolist()) - {0}
    assert len(masks) == len(present) == len(structures.names)
    for organ in WORD16.organs:
        if organ.index in present:
            name = structures.names[sorted(present).index(organ.index)]
            np.testing.assert_array_equal(masks[name], labels.array == organ.index)


def test_a_file_of_another_kind_is_none(tmp_path):
    source, _ = make_case(tmp_path)
    assert read_structures(source.slices[0].file) is None
    text = tmp_path / "notes.txt"
    text.write_text("nothing")
    assert read_structures(text) is None


@pytest.mark.parametrize("kind", list(WRITERS))
def test_a_damaged_file_and_another_grid_are_one_line(kind, tmp_path):
    source, labels = make_case(tmp_path / "ct")
    path = tmp_path / "struct.dcm"
    WRITERS[kind](path, source.on_slices(labels), source, WORD16.organs, MAKER)
    elsewhere = Grid(labels.grid.size, labels.grid.spacing, (0.0, 0.0, 9000.0), labels.grid.direction)
    with pytest.raises(UserError, match=r"struct\.dcm"):
        list(read_structures(path).masks(elsewhere))
    _cut(path, 0.4)
    # A structure set that is cut behind its names may be read, but has lost contours.
    names: list[str] = []
    with contextlib.suppress(UserError):
        names = read_structures(path).names
    assert len(names) < len(set(np.unique(labels.array))) - 1


def changed(path: Path, change) -> Path:
    """The file after `change` of its data set."""
    dataset = dcmread(path)
    change(dataset)
    dataset.save_as(path)
    return path


def structure_set(folder: Path) -> tuple[Path, Grid]:
    source, labels = make_case(folder / "ct")
    path = folder / "struct.dcm"
    write_rtstruct(path, source.on_slices(labels), source, WORD16.organs, MAKER)
    return path, labels.grid


def box(z: float, low: float, high: float) -> Dataset:
    """A square contour in the plane at `z` mm."""
    contour = Dataset()
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
    corners = ((low, low), (high, low), (high, high), (low, high))
    contour.ContourData = [f"{mm:.3f}" for x, y in corners for mm in (x - 100, y - 90, z)]
    return contour


def only(contours: list[Dataset]):
    """Changes a structure set to one structure of these contours."""
    def change(dataset: Dataset) -> None:
        dataset.ROIContourSequence = dataset.ROIContourSequence[:1]
        dataset.ROIContourSequence[0].ContourSequence = contours
    return change


def test_planes_that_fall_into_one_slice_add_up(tmp_path):
    # Drawn on a CT of half the slice distance: the second plane must not undo the first.
    path, grid = structure_set(tmp_path)
    step = grid.spacing[2]
    changed(path, only([box(40 + step * place, 30, 90) for place in (3, 3.4, 4, 4.4)]))
    (_, mask), = read_structures(path).masks(grid)
    assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == [3, 4]
    # A hole lies in the plane of what it is a hole of.
    changed(path, only([box(40 + 3 * step, 30, 90), box(40 + 3 * step, 50, 70)]))
    (_, with_hole), = read_structures(path).masks(grid)
    assert 0 < with_hole.sum() < mask[3].sum()


@pytest.mark.parametrize("kind", list(WRITERS))
@pytest.mark.parametrize("name", [r"GTV\Leber ü", "Liver\\", r"a\b\c"])
def test_a_backslash_in_a_name_stays(name, kind, tmp_path):
    source, labels = make_case(tmp_path / "ct")
    path = tmp_path / "struct.dcm"
    WRITERS[kind](path, source.on_slices(labels), source, WORD16.organs, MAKER)
    names = read_structures(path).names

    def rename(dataset: Dataset) -> None:
        if kind == "rtstruct":
            dataset.StructureSetROISequence[0].ROIName = name
        else:
            segments = {segment.SegmentLabel: segment for segment in dataset.SegmentSequence}
            segments[names[0]].SegmentLabel = name

    assert read_structures(changed(path, rename)).names == [name, *names[1:]]


@pytest.mark.parametrize(("places", "listed"), [
    ((2, 4, 6, 8, 10), "3, 5, 7, 9"), ((2, 4, 6, 7, 9, 11), "3, 5, 7, 8"),  # two of them follow each other
    (np.arange(2, 12, 1.5), "3, 4.5, 6, 7.5"), (np.arange(2, 12, 1.25), "3, 4.25, 5.5, 6.75")])  # of a coarser CT
def test_structures_that_leave_slices_out_are_refused(places, listed, tmp_path):
    path, grid = structure_set(tmp_path)
    changed(path, only([box(40 + grid.spacing[2] * place, 30, 90) for place in places]))
    with pytest.raises(UserError, match=rf"in every slice.*slices {listed} without"):
        list(read_structures(path).masks(grid))


def test_planes_halfway_between_slices_leave_none_out(tmp_path):
    path, grid = structure_set(tmp_path)
    # Coordinates in files are rounded, so that halfway is a little more or less.
    places = [place + 0.5 + 1e-4 * (-1) ** place for place in range(2, 8)]
    changed(path, only([box(40 + grid.spacing[2] * place, 30, 90) for place in places]))
    (_, mask), = read_structures(path).masks(grid)
    assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == [3, 4, 5, 6, 7, 8]


def test_structures_in_several_parts_are_read(tmp_path):
    path, grid = structure_set(tmp_path)
    places = [2, 3, 4, 7, 8, 11, 12, 13, 16]
    changed(path, only([box(40 + grid.spacing[2] * place, 30, 90) for place in places]))
    (_, mask), = read_structures(path).masks(grid)
    assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == places


def test_a_contour_that_is_there_twice_counts_once_and_a_hole_is_one_however_depths_are_rounded(tmp_path):
    path, grid = structure_set(tmp_path)
    height = 40 + 3 * grid.spacing[2]
    changed(path, only([box(height, 30, 90), box(height, 50, 70)]))
    (_, with_hole), = read_structures(path).masks(grid)
    changed(path, only([box(height, 30, 90), box(height, 50, 70), box(height, 30, 90)]))
    (_, twice), = read_structures(path).masks(grid)
    np.testing.assert_array_equal(twice, with_hole)
    # Of all places where two depths could be taken for two planes.
    for place in np.arange(-0.4, 0.4, 0.025):
        beside = height + place * grid.spacing[2]
        changed(path, only([box(beside - 0.001, 30, 90), box(beside + 0.001, 50, 70)]))
        (_, mask), = read_structures(path).masks(grid)
        np.testing.assert_array_equal(mask, with_hole)


def again(contour: Dataset, how: str) -> Dataset:
    """The same contour as another program writes it."""
    points = np.asarray(contour.ContourData, float).reshape(-1, 3)
    points = {"turned": points[::-1], "from another point": np.roll(points, 1, axis=0),
              "closed": np.r_[points, points[:1]], "rounded": points + 0.02}[how]
    contour.ContourData, contour.NumberOfContourPoints = [f"{mm:.3f}" for mm in points.ravel()], len(points)
    return contour


@pytest.mark.parametrize("how", ["turned", "from another point", "closed", "rounded"])
def test_a_contour_that_is_there_twice_in_another_way_counts_once(how, tmp_path):
    path, grid = structure_set(tmp_path)
    height = 40 + 3 * grid.spacing[2]
    changed(path, only([box(height, 30, 90)]))
    (_, once), = read_structures(path).masks(grid)
    changed(path, only([box(height, 30, 90), again(box(height, 30, 90), how)]))
    (_, twice), = read_structures(path).masks(grid)
    assert once.any()
    np.testing.assert_array_equal(twice, once)


def test_contours_that_overlap_add_up_and_holes_and_islands_in_them_stay(tmp_path):
    path, grid = structure_set(tmp_path)
    height = 40 + 3 * grid.spacing[2]

    def drawn(*sides: tuple[float, float], kind: str = "CLOSED_PLANAR") -> np.ndarray:
        contours = [box(height, low, high) for low, high in sides]
        for contour in contours:
            contour.ContourGeometricType = kind
        (_, mask), = read_structures(changed(path, only(contours))).masks(grid)
        return mask

    first, second = (31, 71), (51, 91)
    np.testing.assert_array_equal(drawn(first, second), drawn(first) | drawn(second))
    np.testing.assert_array_equal(drawn(first, second, kind="CLOSEDPLANAR_XOR"), drawn(first) ^ drawn(second))
    whole, hole, other_hole, island = (11, 141), (31, 101), (61, 121), (41, 56)
    with_island = drawn(whole) & ~drawn(hole) | drawn(island)
    np.testing.assert_array_equal(drawn(island, hole, whole), with_island)
    np.testing.assert_array_equal(drawn(whole, hole, island, kind="CLOSEDPLANAR_XOR"), with_island)
    np.testing.assert_array_equal(drawn(whole, hole, other_hole), drawn(whole) & ~drawn(hole) & ~drawn(other_hole))


def test_a_contour_beside_the_ct_is_refused_and_an_empty_one_encloses_nothing(tmp_path):
    path, grid = structure_set(tmp_path)
    height = 40 + 3 * grid.spacing[2]
    changed(path, only([box(height, 30, 90), box(height, 3000, 3090)]))
    with pytest.raises(UserError, match="expected contours on the CT, found one beside it, at slice 4"):
        list(read_structures(path).masks(grid))
    empty = box(height, 30, 90)
    empty.ContourData, empty.NumberOfContourPoints = [], 0
    changed(path, only([empty, box(height, 30, 90)]))
    (_, mask), = read_structures(path).masks(grid)
    assert mask.any()


@pytest.mark.parametrize(("change", "line"), [
    (lambda contour: setattr(contour, "NumberOfContourPoints", 40), "40 points in a contour"),
    (lambda contour: setattr(contour, "ContourData", contour.ContourData[:-1]), "x, y and z of each"),
    (lambda contour: setattr(contour, "ContourData", ["1e300"] * 12), "x, y and z of each"),
    (lambda contour: setattr(contour, "ContourGeometricType", "ROUND"), "a damaged one"),
    (lambda contour: delattr(contour, "ContourData"), "a damaged one")])
def test_contours_that_are_none_are_one_line(change, line, tmp_path):
    path, _ = structure_set(tmp_path)
    with pytest.raises(UserError, match=rf"struct\.dcm: expected .*{line}"):
        read_structures(changed(path, lambda dataset: change(dataset.ROIContourSequence[0].ContourSequence[0])))


def test_contours_of_two_points_enclose_nothing_and_stop_nothing(tmp_path):
    path, grid = structure_set(tmp_path)
    names, masks = zip(*read_structures(path).masks(grid), strict=True)

    def add_line(dataset: Dataset) -> None:
        line = box(40 + 3 * grid.spacing[2], 30, 90)
        line.ContourData, line.NumberOfContourPoints = line.ContourData[:6], 2
        dataset.ROIContourSequence[0].ContourSequence.append(line)

    names_after, masks_after = zip(*read_structures(changed(path, add_line)).masks(grid), strict=True)
    assert names_after == names
    assert all(np.array_equal(before, after) for before, after in zip(masks, masks_after, strict=True))


def test_contours_of_nothing_that_is_named_are_one_line(tmp_path):
    path, _ = structure_set(tmp_path)
    changed(path, lambda dataset: setattr(dataset.ROIContourSequence[0], "ReferencedROINumber", 77))
    with pytest.raises(UserError, match="a name for every drawn structure, found none for number 77"):
        read_structures(path)


@pytest.mark.parametrize("change", [lambda dataset: delattr(dataset, "ROIContourSequence"),
                                    lambda dataset: setattr(dataset, "ROIContourSequence", []),
                                    lambda dataset: [delattr(dataset, name) for name in (
                                        "ROIContourSequence", "StructureSetROISequence")]])
def test_listed_structures_that_lost_their_contours_are_one_line(change, tmp_path):
    path, _ = structure_set(tmp_path)
    with pytest.raises(UserError, match=r"ROI Contour Sequence \(3006,0039\), found none, and \d+ structures"):
        read_structures(changed(path, change))


def test_two_structures_of_one_name_stay_two(tmp_path):
    path, grid = structure_set(tmp_path)

    def change(dataset: Dataset) -> None:
        for roi in dataset.StructureSetROISequence[:2]:
            roi.ROIName = "Kidney"

    structures = read_structures(changed(path, change))
    masks = [mask for _, mask in structures.masks(grid)]
    assert structures.names[:2] == ["Kidney", "Kidney"]
    assert not (masks[0] & masks[1]).any()


def test_frames_of_segments_that_are_not_listed_are_one_line(tmp_path):
    source, labels = make_case(tmp_path / "ct")
    path = tmp_path / "seg.dcm"
    write_dicom_seg(path, source.on_slices(labels), source, WORD16.organs, MAKER)

    def change(dataset: Dataset) -> None:
        identification = dataset.PerFrameFunctionalGroupsSequence[0].SegmentIdentificationSequence[0]
        identification.ReferencedSegmentNumber = 0

    with pytest.raises(UserError, match="a frame of segment 0"):
        read_structures(changed(path, change))


def test_more_structures_than_anybody_draws_are_one_line(tmp_path, monkeypatch):
    path, _ = structure_set(tmp_path)
    monkeypatch.setattr(dicom_references, "MOST_STRUCTURES", 3)
    with pytest.raises(UserError, match="at most 3 structures"):
        read_structures(path)


def test_a_contour_of_very_many_points_is_filled_at_once():
    # As a hostile file may have it; every edge crosses all rows.
    polygon = np.stack([np.linspace(0, 60, 200_000), np.tile([-5.0, 70.0], 100_000)], axis=1)
    begin = time.process_time()
    filled(polygon, (1, 64, 64))
    assert time.process_time() - begin < 5


@pytest.mark.parametrize("syntax", [DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_claims_are_followed_in_every_syntax(syntax, tmp_path, monkeypatch):
    path, _ = structure_set(tmp_path)
    dataset = dcmread(path)
    names = read_structures(path).names
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.walk(lambda part, element: None)  # decoded, so that it can be written in another order of bytes
    dcmwrite(path, dataset, little_endian=syntax.is_little_endian, implicit_vr=False)
    assert read_structures(path).names == names
    content = path.read_bytes()
    if syntax.is_little_endian:
        # More zeros than any file has in place of what was deflated.
        monkeypatch.setattr(dicom_lengths, "_MOST_UNPACKED", 1 << 20)
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        start = 144 + int.from_bytes(content[140:144], "little")
        zeros = b"".join([packer.compress(bytes(1 << 20)) for _ in range(3)])
        path.write_bytes(content[:start] + zeros + packer.flush())
    else:
        begins = content.index(b"\0\x08\x00\x60CS")
        path.write_bytes(content[:begins + 4] + b"UT\0\0" + b"\x7f\xff\xff\xff" + content[begins + 8:])
    with pytest.raises(UserError, match="an element longer than the file"):
        read_structures(path)


def _cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:round(share * len(content))])


def test_polygons_are_filled_by_their_pixels_centres():
    rng = np.random.default_rng(0)
    for _ in range(50):
        polygon = rng.uniform(-3, 13, (rng.integers(3, 9), 2)).round(2)
        np.testing.assert_array_equal(filled(polygon, (1, 10, 11)), inside(polygon, (10, 11)))
