"""`learn` from folders in which several DICOM series of a patient lie together, from the first look to the page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import generate_uid

from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.finetuning.options import FinetuneOptions
from PartialOrganSegLib.formats.dicom_export import write_dicom
from PartialOrganSegLib.formats.dicom_source import Maker, read_source
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from PartialOrganSegLib.formats.strokes import Stroke, Strokes, write_strokes
from PartialOrganSegLib.formats.writing import write_labelmap
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.learning.run import LearnOptions, carry_out, prepare
from Testing.helpers.dicom_files import UPRIGHT, write_slices
from Testing.helpers.finetune_data import QUICK, ct_of, write_start
from Testing.helpers.learn_folder import SPACE, known_voxels, plan_of, problems_of, said
from Testing.helpers.training_data import SPACING_ZYX

SERIES = ("arterial", "venous", "late", "delayed")
PATIENTS = ("Müller J", "b")


def write_patient(folder: Path, seed: int) -> dict[str, np.ndarray]:
    """The slices of four series in one folder: structures on the first, a mask on the second that is called after it,
    strokes on the third that state it. Gives their labels."""
    study, labels = generate_uid(), {}
    for number, name in enumerate(SERIES, 1):
        hu, labels[name] = ct_of(seed + number)
        # Of a folder of their own, while what is drawn on them is written.
        place = write_slices(folder / name, hu, UPRIGHT, pixel_mm=SPACING_ZYX[1:], step=SPACING_ZYX[0],
                             SeriesDescription=name, SeriesNumber=number, StudyInstanceUID=study, PatientID=folder.name)
        source, grid = read_source(place, None, Reporter()), read_ct(place).grid
        if name == "arterial":
            write_dicom({"rtstruct": place / "structures.dcm"}, Volume(labels[name], grid), source, SPACE.organs,
                        Maker("a test", "1"))
        if name == "venous":
            write_labelmap(folder / "2 venous spleen.nii.gz", Volume((labels[name] == 2).astype(np.uint8), grid))
        if name == "late":
            z, y, x = np.argwhere(labels[name] == 1).mean(0).round().astype(int)
            strokes = []
            for organ, level, row, columns in (("liver", z, y, (x - 2, x + 2)), ("background", 10, 3, (3, 20))):
                points = [tuple((grid.matrix @ [column, row, level, 1])[:3].tolist()) for column in columns]
                strokes.append(Stroke(organ=organ, points=points, width_mm=2.0))
            write_strokes(folder / "s.json", Strokes(
                image="a CT", series_uid=str(source.headers[0].SeriesInstanceUID), size=grid.size, drawn_by="a test",
                licence="CC0-1.0", strokes=strokes))
        for file in place.iterdir():
            file.rename(folder / f"{name} {file.name}")
        place.rmdir()
    return labels


@pytest.fixture
def labels(tmp_path: Path) -> dict[str, np.ndarray]:
    """Those of the second patient."""
    for seed, patient in ((0, PATIENTS[0]), (10, PATIENTS[1])):
        labels = write_patient(tmp_path / "cts" / patient, seed)
    return labels


def test_whose_each_drawing_is_where_patients_have_series_of_one_name(labels, tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "cts")
    assert problems_of(plan) == []
    for patient in PATIENTS:
        of_patient = {name.removeprefix(f"{patient}_"): case for name, case in said(plan).items() if patient in name}
        assert of_patient == {
            "1 arterial": ("partial", ("liver", "spleen", "left_kidney")), "2 venous": ("partial", ("spleen",)),
            "3 late": ("scribble", ("liver",)), "4 delayed": ("unlabelled", ())}
    np.testing.assert_array_equal(known_voxels(plan, "b_2 venous")["spleen"], labels["venous"] == 2)
    liver = known_voxels(plan, "b_3 late")["liver"]
    assert liver.any()
    assert (labels["late"][liver] == 1).all()


@pytest.mark.parametrize("stated", ["another series", "another size"])
def test_strokes_of_another_ct_than_they_state_are_refused(stated: str, labels, tmp_path: Path) -> None:
    file = tmp_path / "cts" / "b" / "s.json"
    strokes = json.loads(file.read_text("utf-8"))
    if stated == "another series":
        strokes |= {"series_uid": "1.2.3", "image": "b_4 delayed"}
    else:
        strokes["size"] = [1, 2, 3]
    file.write_text(json.dumps(strokes), "utf-8")
    [problem] = problems_of(plan_of(tmp_path / "cts"))
    expected = {"another series": ["expected strokes of the series", "4 delayed, found such of 1.2.3"],
                "another size": ["expected strokes on (24, 24, 12) voxels, found (1, 2, 3)"]}[stated]
    assert all(words in problem for words in expected)


def test_a_run_comes_to_its_page(tmp_path: Path) -> None:
    write_patient(tmp_path / "Müller J", 0)
    start, output = write_start(tmp_path / "start"), tmp_path / "Ausgabe ü"
    finetuning = FinetuneOptions(steps=2, replay="none", overrides=list(QUICK))
    prepare(tmp_path / "Müller J", output, LearnOptions(model=str(start.folder), finetuning=finetuning))
    page = carry_out(output, "cpu").page.read_text("utf-8")
    for moment in ("start", "new"):
        for number, name in enumerate(SERIES, 1):
            segmented = read_labelmap(output / "segmented" / moment / f"{number} {name}.labels.nii.gz")
            assert segmented.grid.same_as(read_ct(output / ".series" / f"{number} {name}").grid)
    dice = json.loads((output / "evaluation" / "dice.json").read_text("utf-8"))["new"]
    assert set(dice["1 arterial"]) == {"liver", "spleen", "left_kidney"}
    assert set(dice["2 venous"]) == {"spleen"}
    obedience = json.loads((output / "segmented" / "new" / "3 late.strokes.json").read_text("utf-8"))
    assert obedience["corrected"] == 1
    assert "4 delayed" in page
