"""The embedded model's training set: what its script writes is a manifest that `check` accepts."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from PartialOrganSegLib.datasets.manifest import check_manifest, load_manifest
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from PartialOrganSegLib.formats.writing import write_ct, write_labelmap
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import WORD16
from Testing.helpers.real_data import real_data_path
from Testing.helpers.repository import import_script

# Axes that run to the right and the front, and thick slices: what most CTs of hospitals are like.
GRID = Grid((60, 50, 20), (1.5, 1.5, 5.0), (40.0, 30.0, 400.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))
LIVER, SPLEEN, COLON, FEMUR = WORD16.indices(["liver", "spleen", "colon", "head_of_left_femur"])


FILES = import_script("case_files", "embedded")
GRIDS = import_script("ct_grids", "embedded")
MANIFEST = import_script("training_manifest", "embedded")
SOURCES = import_script("source_cases", "embedded")
SCRIPT = import_script("build_embedded_data", "embedded")


def body_with_four_organs() -> tuple[Volume, Volume]:
    """A block of soft tissue in air, with organs as blocks that lie in it."""
    hu = np.full(GRID.shape, -1000, np.int16)
    hu[:, 10:40, 10:50] = 40
    labels = np.zeros(GRID.shape, np.uint8)
    # Boxes side by side along x that touch nothing, so that a volume after resampling has one reason only.
    for number, organ in enumerate((LIVER, SPLEEN, COLON, FEMUR)):
        labels[4:14, 15:30, 12 + 8 * number:18 + 8 * number] = organ
    return Volume(hu, GRID), Volume(labels, GRID)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    ct, labels = body_with_four_organs()
    write_ct(tmp_path / "image.nii.gz", ct)
    write_labelmap(tmp_path / "label.nii.gz", labels)
    return tmp_path


def source_case(source: Path, annotated: list[str], **facts: object) -> object:
    return SOURCES.SourceCase("first", "hk13", source / "image.nii.gz", source / "label.nii.gz", annotated, **facts)


def test_spacing_changes_and_the_box_stays() -> None:
    ct, _ = body_with_four_organs()
    new = GRIDS.at_spacing(ct, (3.0, 2.0, 2.0))
    assert new.grid.size == (45, 38, 33)
    before, after = ct.canonical().grid, new.grid
    # Voxel centres may move; the outer faces may not, or organs would shift by half a voxel.
    extent = np.multiply(before.size, before.spacing)
    np.testing.assert_allclose(np.multiply(after.size, after.spacing), extent)
    np.testing.assert_allclose(np.subtract(after.origin, np.divide(after.spacing, 2)),
                               np.subtract(before.origin, np.divide(before.spacing, 2)))
    assert new.array.dtype == np.int16
    assert abs(float(new.array.mean()) - float(ct.array.mean())) < 10


def test_only_what_a_case_vouches_for_is_written(source: Path) -> None:
    FILES.make_real(source_case(source, ["liver"], label_map={COLON: ["colon", "rectum"]}), source / "a")
    image, labels = read_ct(source / "a_image.nii.gz"), read_labelmap(source / "a_label.nii.gz")
    assert np.unique(labels.array).tolist() == [0, LIVER, COLON]
    assert image.grid.same_as(labels.grid)
    # The organs were cut at the same places as the image: no voxel of the liver shows air.
    assert image.array[labels.array == LIVER].min() == 40
    voxels = 10 * 15 * 6 * GRID.voxel_ml
    assert float((labels.array == LIVER).sum()) * labels.grid.voxel_ml == pytest.approx(voxels, rel=0.1)


def test_other_numbers_become_ours(source: Path) -> None:
    FILES.make_real(source_case(source, ["stomach"], convert={LIVER: WORD16.index("stomach"), SPLEEN: LIVER}),
                    source / "a")
    assert np.unique(read_labelmap(source / "a_label.nii.gz").array).tolist() == [0, WORD16.index("stomach")]


def test_check_accepts_the_manifest(source: Path) -> None:
    out, strokes = source / "out", source / "Striche ü"
    for folder in (out / "real", out / "warped", out / "synthetic", strokes):
        folder.mkdir(parents=True)
    inside = [float(c) for c in (GRID.matrix @ (30, 25, 10, 1))[:3]]
    (strokes / "first.json").write_text(json.dumps({
        "image": "first", "drawn_by": "test", "licence": "none",
        "strokes": [{"organ": "intestine", "points": [inside], "width_mm": 5}]}))
    case = source_case(source, ["liver", "spleen"], label_map={FEMUR: ["head_of_left_femur", "background"]})
    for stem in (out / "real" / "first", out / "warped" / "first__word_1", out / "synthetic" / "word_1_0"):
        FILES.make_real(case, stem)
    MANIFEST.write_manifest(out, [case, replace(case, name="not made yet")], strokes)
    # The case that has no files yet is left out, so that a training can start before every warp is made.
    written = yaml.safe_load((out / "manifest.yaml").read_text(encoding="utf-8"))["datasets"]
    assert {dataset["name"]: dataset["weight"] for dataset in written} == {
        name: MANIFEST.WEIGHTS[name] for name in ("hk13", "warped_hk13", "synthetic")}
    cases = itertools.chain.from_iterable(dataset["cases"] for dataset in written)
    assert [case.get("strokes") for case in cases] == ["../Striche ü/first.json", None, None]
    manifest = load_manifest(out / "manifest.yaml")
    assert check_manifest(manifest) == []
    # A warp shows the patient it was warped from: in another group it would be scored as unseen.
    assert [case.group for case in manifest.cases] == ["first", "first", "word_1"]


def test_every_real_case_has_a_weight() -> None:
    data = real_data_path("manifest.yaml").parent
    cases = SOURCES.labelled_cases(data)
    datasets = {case.dataset for case in [*cases, SOURCES.dicom_case(data), *SOURCES.chest_cases(data)]}
    assert datasets | {f"warped_{case.dataset}" for case in cases} <= set(MANIFEST.WEIGHTS)
    assert all(case.image.exists() and case.label.exists() for case in cases)


def test_more_warps_leave_the_first_ones_as_they_are(tmp_path: Path) -> None:
    anatomies = [tmp_path / f"word_{number}.nii.gz" for number in range(5)]
    drawn = [SCRIPT.anatomy_for("first", anatomies, number, 0) for number in range(5)]
    assert len({anatomy for anatomy, _ in drawn}) == 5
    assert all(0.6 <= strength <= 1.0 for _, strength in drawn)
    # Asking for more warps later must not remake those that a model was already trained on.
    assert drawn[0] != SCRIPT.anatomy_for("second", anatomies, 0, 0)
    assert [SCRIPT.anatomy_for("first", anatomies, number, 0) for number in range(2)] == drawn[:2]


def test_jobs_make_missing_files_only(tmp_path: Path) -> None:
    jobs = import_script("parallel_jobs", "embedded")
    existing, missing = tmp_path / "here", tmp_path / "missing"
    existing.write_text("as it was")
    jobs.run_jobs([jobs.Job(path, Path.touch, (path,)) for path in (missing,)], 1)
    jobs.run_jobs([jobs.Job(path, Path.unlink, (path,)) for path in (existing, missing)], 1)
    assert existing.read_text() == "as it was"
    assert missing.exists()
