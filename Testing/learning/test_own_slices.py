"""`learn` from structures on a series whose slices are not those of the CT's grid: with a gap, uneven, or tilted."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from PartialOrganSegLib.annotation import UNKNOWN, CandidateTable
from PartialOrganSegLib.datasets.manifest import check_manifest, load_manifest
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.formats.dicom_seg import write_dicom_seg
from PartialOrganSegLib.formats.dicom_source import Maker, read_source
from PartialOrganSegLib.formats.drawn_structures import read_structures
from PartialOrganSegLib.formats.own_slices import OwnSlices
from PartialOrganSegLib.formats.reading import read_ct
from PartialOrganSegLib.formats.rtstruct import write_rtstruct
from PartialOrganSegLib.formats.writing import write_ct
from PartialOrganSegLib.learning.plan import Plan
from PartialOrganSegLib.organs import WORD16
from Testing.helpers.dicom_cases import SPACING, phantom
from Testing.helpers.dicom_files import positions_of, write_slices
from Testing.helpers.learn_folder import known_voxels, plan_of, problems_of

WRITERS = {"rtstruct": write_rtstruct, "seg": write_dicom_seg}
STEP = SPACING[0]
MISSING = 16  # within the liver of the phantom


def patient(folder: Path, kind: str, kept: np.ndarray, heights: np.ndarray, tilt: float = 0.0) -> None:
    """A series of the phantom's `kept` slices at `heights` in mm, each shifted by `tilt` mm backwards for each mm
    upwards, with its labels drawn on these slices."""
    hu, labels = phantom()
    positions = positions_of(1) + np.outer(heights, (0.0, tilt, 1.0))
    write_slices(folder / "ct", hu[kept], positions=positions, pixel_mm=SPACING[1:])
    source = read_source(folder / "ct", None, Reporter())
    WRITERS[kind](folder / "struct.dcm", labels[kept], source, WORD16.organs, Maker("a test", "1"))


def codes_of(plan: Plan, table: CandidateTable | None = None) -> np.ndarray:
    manifest = load_manifest(plan.manifest)
    assert not check_manifest(manifest)
    case = manifest.cases[0]
    return case.read_codes(case.read_image(), manifest.label_space, table or CandidateTable(WORD16.class_count))


@pytest.mark.parametrize("kind", list(WRITERS))
def test_in_a_slice_that_the_series_lacks_nothing_is_known(kind, tmp_path):
    folder = tmp_path / "Müller J"
    kept = np.delete(np.arange(len(phantom()[0])), MISSING)
    patient(folder, kind, kept, kept * STEP)
    plan = plan_of(folder, space=WORD16)
    liver = known_voxels(plan, plan.cases[0].name)["liver"]
    np.testing.assert_array_equal(liver[kept], phantom()[1][kept] == 1)
    codes = codes_of(plan)
    assert (codes[MISSING] == UNKNOWN).all()
    assert (codes[kept] != UNKNOWN).all()
    assert any("1 slices filled in" in line for line in problems_of(plan))


@pytest.mark.parametrize("kind", list(WRITERS))
def test_a_file_made_of_a_series_with_a_gap_shows_it_by_its_structures(kind, tmp_path):
    folder = tmp_path / "Müller J"
    kept = np.delete(np.arange(len(phantom()[0])), MISSING)
    patient(folder, kind, kept, kept * STEP)
    write_ct(folder / "image.nii.gz", read_ct(folder / "ct"))
    shutil.rmtree(folder / "ct")
    plan = plan_of(folder, space=WORD16)
    codes = codes_of(plan)
    assert (codes[MISSING] == UNKNOWN).all()
    assert (codes[kept] != UNKNOWN).all()
    assert any(f"no structure drawn in 1 slices ({MISSING + 1}) with '" in line for line in problems_of(plan))


@pytest.mark.parametrize("kind", list(WRITERS))
def test_an_organ_in_two_parts_is_absent_between_them_where_others_are_drawn(kind, tmp_path):
    hu, labels = phantom()
    labels = np.where(labels == 1, 0, labels)
    labels[10, 4:12, 4:12] = labels[20, 4:12, 4:12] = 1
    labels[8:23, 30:40, 30:40] = 2
    write_slices(tmp_path / "ct", hu, positions=positions_of(len(hu), step=STEP), pixel_mm=SPACING[1:])
    source = read_source(tmp_path / "ct", None, Reporter())
    WRITERS[kind](tmp_path / "struct.dcm", labels, source, WORD16.organs, Maker("a test", "1"))
    write_ct(tmp_path / "image.nii.gz", read_ct(tmp_path / "ct"))
    shutil.rmtree(tmp_path / "ct")
    plan = plan_of(tmp_path, space=WORD16)
    assert (codes_of(plan) != UNKNOWN).all()
    assert not problems_of(plan)


def sparse(contours: list[Dataset]) -> list[Dataset]:
    """Those in every second plane."""
    heights = sorted({float(contour.ContourData[2]) for contour in contours})
    return [contour for contour in contours if float(contour.ContourData[2]) in heights[::2]]


def beside_the_ct(contours: list[Dataset]) -> list[Dataset]:
    """Three metres off."""
    for contour in contours:
        contour.ContourData = [float(mm) + 3000 * (place % 3 == 0) for place, mm in enumerate(contour.ContourData)]
    return contours


CHANGES = pytest.mark.parametrize(("change", "reason"), [(sparse, "in every slice that shows"),
                                                         (beside_the_ct, "on the CT")])


class StructureFile:
    """A structure set of the phantom beside its series, whose structures can be changed."""

    def __init__(self, folder: Path) -> None:
        count = len(phantom()[0])
        patient(folder, "rtstruct", np.arange(count), STEP * np.arange(count))
        self._path = folder / "struct.dcm"
        self._dataset = dcmread(self._path)
        self._names = {roi.ROINumber: roi for roi in self._dataset.StructureSetROISequence}

    def change(self, name: str, change: Callable[[list[Dataset]], list[Dataset]] | None = None,
               new_name: str | None = None) -> None:
        """Changes the contours of a structure, its name, or both."""
        roi = next(roi for roi in self._dataset.ROIContourSequence
                   if self._names[roi.ReferencedROINumber].ROIName == name)
        if change is not None:
            roi.ContourSequence = change(list(roi.ContourSequence))
        self._names[roi.ReferencedROINumber].ROIName = new_name or name
        self._dataset.save_as(self._path)

    @property
    def names(self) -> list[str]:
        """Of all structures with contours."""
        return [self._names[roi.ReferencedROINumber].ROIName for roi in self._dataset.ROIContourSequence
                if roi.get("ContourSequence")]


@CHANGES
def test_a_structure_that_is_not_to_be_learnt_does_not_spoil_those_that_are(change, reason, tmp_path):
    folder = tmp_path / "Müller J"
    structures = StructureFile(folder)
    structures.change("Colon", change, "PTV 1")
    for options in ({}, {"annotated": ["liver"]}):
        plan = plan_of(folder, space=WORD16, **options)
        liver = known_voxels(plan, plan.cases[0].name)["liver"]
        np.testing.assert_array_equal(liver, phantom()[1] == 1)
    # And where they cannot be used either, their reason is the one to be told.
    for number, name in enumerate(structures.names, 2):
        structures.change(name, new_name="Liver" if name == "PTV 1" else f"PTV {number}")
    with pytest.raises(UserError, match=f"Liver: expected contours {reason}"):
        plan_of(folder, space=WORD16)


@CHANGES
def test_an_organ_that_cannot_be_used_is_unknown_and_the_others_are_learnt(change, reason, tmp_path):
    folder = tmp_path / "Müller J"
    StructureFile(folder).change("Colon", change)
    plan = plan_of(folder, space=WORD16)
    case, labels = plan.cases[0], phantom()[1]
    assert {"liver", "spleen"} <= set(case.labelling.annotated)
    assert "colon" not in case.labelling.annotated
    line, = problems_of(plan)
    assert f"Colon: expected contours {reason}" in line
    assert line.endswith("nothing is learnt of colon on this CT")
    known = known_voxels(plan, case.name)
    np.testing.assert_array_equal(known["liver"], labels == 1)
    assert not known.get("colon", np.zeros(1)).any()
    # where no other organ is, it may be
    colon, table = WORD16.organ("colon").index, CandidateTable(WORD16.class_count)
    codes = np.unique(codes_of(plan, table)[labels == colon])
    assert len(codes)
    assert table.table[codes, colon].all()
    # Asked for by name it is the reason why nothing is learnt from the CT.
    with pytest.raises(UserError, match=f"Colon: expected contours {reason}"):
        plan_of(folder, space=WORD16, annotated=["liver", "colon"])


def test_a_tumour_that_cannot_be_used_takes_its_organ_along(tmp_path):
    """Else the organ would be absent where the tumour is, which is drawn beside it."""
    folder = tmp_path / "Müller J"
    StructureFile(folder).change("Colon", sparse, "Liver tumour")
    plan = plan_of(folder, space=WORD16)
    assert "liver" not in plan.cases[0].labelling.annotated
    assert "spleen" in plan.cases[0].labelling.annotated
    assert problems_of(plan)[0].endswith("nothing is learnt of liver on this CT")
    assert not known_voxels(plan, plan.cases[0].name).get("liver", np.zeros(1)).any()


def test_a_new_organ_of_which_nothing_can_be_used_is_none(tmp_path):
    """Else the model would be grown, and every segmentation slower, by an organ that nobody showed it."""
    folder = tmp_path / "Müller J"
    StructureFile(folder).change("Colon", sparse, "Aorta")
    plan = plan_of(folder, space=WORD16)
    assert plan.new_organs == []
    assert plan.space.names == WORD16.names
    codes_of(plan)  # the label maps know of it no more
    shutil.rmtree(folder / "learnt")
    assert plan_of(folder, space=WORD16, new_organs=["aorta"]).new_organs == ["aorta"]  # asked for by name


def test_structures_of_which_most_lie_beside_the_ct_are_refused(tmp_path):
    """They are of another CT."""
    folder = tmp_path / "Müller J"
    structures = StructureFile(folder)
    for name in structures.names[:len(structures.names) // 2 + 1]:
        structures.change(name, beside_the_ct)
    with pytest.raises(UserError, match="expected contours on the CT"):
        plan_of(folder, space=WORD16)


@pytest.mark.parametrize("kind", list(WRITERS))
def test_structures_on_uneven_slices_are_read(kind, tmp_path):
    count = len(phantom()[0])
    # Every second distance is one and a half of the others: two slices of the series lie on three of the grid.
    heights = np.cumsum([0.0, *np.tile([STEP, 1.5 * STEP], count // 2)])[:count]
    patient(tmp_path, kind, np.arange(count), heights)
    plan = plan_of(tmp_path, space=WORD16)
    liver = known_voxels(plan, plan.cases[0].name)["liver"]
    codes = codes_of(plan)
    depths = np.floor(heights / STEP + 0.51).astype(int).clip(0, len(codes) - 1)
    for depth, drawn in zip(depths, phantom()[1] == 1, strict=True):
        np.testing.assert_array_equal(liver[depth], drawn)
    unseen = sorted(set(range(len(codes))) - set(depths.tolist()))
    assert unseen
    assert (codes[unseen] == UNKNOWN).all()


@pytest.mark.parametrize("kind", list(WRITERS))
def test_structures_on_tilted_slices_are_read(kind, tmp_path):
    count = len(phantom()[0])
    patient(tmp_path, kind, np.arange(count), STEP * np.arange(count), tilt=0.27)
    plan = plan_of(tmp_path, space=WORD16)
    liver = known_voxels(plan, plan.cases[0].name)["liver"]
    drawn = phantom()[1] == 1
    # The CT's slices are shifted within their planes, by parts of a voxel too.
    shift = 0.27 * STEP / SPACING[1]
    for depth in range(count):
        rows = np.flatnonzero(drawn[depth].any(axis=1))
        if len(rows):
            moved = np.flatnonzero(liver[depth].any(axis=1))
            assert moved[0] == pytest.approx(rows[0] + shift * depth, abs=0.52)
            if kind != "rtstruct":  # whose polygons are narrower than their pixels
                assert liver[depth].sum() == drawn[depth].sum()


def test_a_segmentation_beside_the_images_is_told_which_grid_is_meant(tmp_path):
    count = len(phantom()[0])
    patient(tmp_path, "seg", np.arange(count), STEP * np.arange(count), tilt=0.27)
    grid = read_ct(tmp_path / "ct").grid
    shifted = positions_of(1) + np.outer(STEP * np.arange(count), (0.0, 0.27, 1.0)) + (1.0, 0.0, 0.0)
    with pytest.raises(UserError, match=r"on the voxels of the CT or of its series' images.*of the images themselves"):
        list(read_structures(tmp_path / "struct.dcm").masks(grid, shifted))
    assert not OwnSlices(grid).filled_in()
