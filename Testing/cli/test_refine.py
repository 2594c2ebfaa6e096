"""`partialorganseg refine`: files, what changed, taking it back, and what is refused."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

import PartialOrganSegLib as pos
from PartialOrganSegLib.cli import main
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from PartialOrganSegLib.formats.strokes import Stroke, Strokes, write_strokes
from PartialOrganSegLib.formats.writing import write_ct, write_labelmap
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.models.ensemble import load_models
from PartialOrganSegLib.segmenting.options import SegmentOptions
from PartialOrganSegLib.segmenting.result import CTSource, SegmentResult
from Testing.helpers.dicom_cases import make_case
from Testing.helpers.stroke_scenes import FIRST_MIDDLE, GRID, SPLEEN, scene


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A CT, labels without its spleen, and a stroke through it."""
    ct, truth = scene()
    write_ct(tmp_path / "scan.nii.gz", ct)
    write_labelmap(tmp_path / "start.nii.gz", Volume(np.where(truth == SPLEEN, 0, truth).astype(np.uint8), GRID))
    z, y, x = FIRST_MIDDLE
    points = [(GRID.matrix @ [column, y, z, 1])[:3].tolist() for column in (x - 5, x + 5)]
    write_strokes(tmp_path / "s.json", Strokes(
        image="scan.nii.gz", drawn_by="a test", licence="CC0-1.0", size=GRID.size, spacing=GRID.spacing,
        strokes=[Stroke(organ="spleen", points=points, width_mm=4.0)]))
    return tmp_path


def refine(folder: Path, *options: str) -> int:
    return main(["refine", str(folder / "scan.nii.gz"), "--strokes", str(folder / "s.json"), "--labels",
                 str(folder / "start.nii.gz"), "-o", str(folder / "out"), *options])


def test_files_changes_and_undo(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert refine(folder) == 0
    printed = capsys.readouterr().out
    assert "spleen: +" in printed
    out = folder / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "scan.before.labels.nii.gz", "scan.changes.csv", "scan.labels.nii.gz", "scan.preview.png",
        "scan.scribble.csv", "scan.scribble.nii.gz", "scan.seg.nrrd", "scan.volumes.csv"]
    start, after = (read_labelmap(path).array for path in (folder / "start.nii.gz", out / "scan.labels.nii.gz"))
    assert (after == SPLEEN).sum() > 800
    with open(out / "scan.changes.csv", newline="") as stream:
        [row] = list(csv.DictReader(stream))
    assert row["organ"] == "spleen"
    # Voxels of 2 x 2 x 4 mm.
    assert float(row["gained_ml"]) == pytest.approx((after == SPLEEN).sum() * 0.016, rel=0.01)
    assert refine(folder) == 1  # an earlier result is in the way
    assert main(["refine", str(folder / "scan.nii.gz"), "--undo", "-o", str(out)]) == 0
    assert np.array_equal(read_labelmap(out / "scan.labels.nii.gz").array, start)
    assert not (out / "scan.before.labels.nii.gz").exists()
    assert main(["refine", str(folder / "scan.nii.gz"), "--undo", "-o", str(out)]) == 1
    assert "--undo takes the latest correction back, once" in capsys.readouterr().err


def test_strokes_of_several_corrections_are_kept(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert refine(folder, "--no-preview") == 0
    out = folder / "out"
    corrected, kept = out / "scan.labels.nii.gz", out / "scan.scribble.nii.gz"
    first = read_labelmap(kept).array
    z, y, x = FIRST_MIDDLE
    points = [(GRID.matrix @ [column, y, z + 2, 1])[:3].tolist() for column in (x - 2, x + 2)]
    write_strokes(folder / "zweite ä.json", Strokes(image="scan.nii.gz", drawn_by="a test", licence="CC0-1.0", strokes=[
        Stroke(organ="background", points=points, width_mm=4.0)]))
    again = ["refine", str(folder / "scan.nii.gz"), "--strokes", str(folder / "zweite ä.json"), "--labels",
             str(corrected), "-o", str(out), "--no-preview", "--overwrite"]
    capsys.readouterr()
    assert main(again) == 0
    assert f"old_strokes  {out / 'scan.before.scribble.nii.gz'}" in capsys.readouterr().out
    both = read_labelmap(kept).array
    np.testing.assert_array_equal(both[first == SPLEEN], SPLEEN)
    assert (both == 0).any()
    np.testing.assert_array_equal(read_labelmap(corrected).array[both != 255], both[both != 255])
    # The strokes of the first correction are there until it is taken back itself.
    assert main(["refine", str(folder / "scan.nii.gz"), "--undo", "--no-preview", "-o", str(out)]) == 0
    np.testing.assert_array_equal(read_labelmap(kept).array, first)
    assert sorted(path.name for path in out.iterdir()) == [
        "scan.labels.nii.gz", "scan.scribble.csv", "scan.scribble.nii.gz", "scan.seg.nrrd", "scan.volumes.csv"]
    assert main(again) == 0
    np.testing.assert_array_equal(read_labelmap(kept).array, both)
    # Of an organ that the model does not have, they are of another one.
    (out / "scan.scribble.csv").write_text(f"value,organ\n{SPLEEN},lump\n", "utf-8")
    assert main(again) == 1
    assert "earlier strokes of the organs of word16, found one of lump; move them" in capsys.readouterr().err
    # Another correction of other labels begins anew.
    assert refine(folder, "--overwrite", "--no-preview") == 0
    np.testing.assert_array_equal(read_labelmap(kept).array, first)
    assert not (out / "scan.before.scribble.nii.gz").exists()


def test_undo_leaves_the_only_strokes(folder: Path, capsys: pytest.CaptureFixture) -> None:
    """Strokes in the file that a correction keeps its own in would go when it is taken back."""
    assert refine(folder) == 0
    strokes = folder / "out" / "scan.scribble.nii.gz"
    drawn = strokes.read_bytes()
    capsys.readouterr()
    assert main(["refine", str(folder / "scan.nii.gz"), "--strokes", str(strokes), "--overwrite", "--labels",
                 str(folder / "start.nii.gz"), "-o", str(folder / "out")]) == 1
    assert f"{strokes}: expected strokes in a file of another name or folder" in capsys.readouterr().err
    assert strokes.read_bytes() == drawn
    assert main(["refine", str(folder / "scan.nii.gz"), "--strokes", str(strokes), "--labels",
                 str(folder / "start.nii.gz"), "-o", str(folder / "elsewhere")]) == 0


def test_nothing_beside_the_labels_shows_other_ones(folder: Path, capsys: pytest.CaptureFixture) -> None:
    """What a correction or taking it back does not write anew goes; what may be somebody else's stays and is told."""
    assert refine(folder) == 0
    out = folder / "out"
    structures = out / "scan.rtstruct.dcm"  # no DICOM of ours: another program's
    structures.write_bytes(b"theirs")
    assert refine(folder, "--overwrite", "--no-preview") == 0
    assert not (out / "scan.preview.png").exists()
    assert f"{structures}: a file of an earlier result" in capsys.readouterr().err
    assert refine(folder, "--overwrite") == 0
    capsys.readouterr()
    assert main(["refine", str(folder / "scan.nii.gz"), "--undo", "--no-preview", "-o", str(out)]) == 0
    assert f"{structures}: a file of an earlier result" in capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == [
        "scan.labels.nii.gz", "scan.rtstruct.dcm", "scan.seg.nrrd", "scan.volumes.csv"]


@pytest.mark.parametrize("ending", [".labels.nii.gz", ".seg.nrrd"])
def test_labels_that_were_edited_since_are_not_taken_back(folder: Path, ending: str,
                                                          capsys: pytest.CaptureFixture) -> None:
    assert refine(folder, "--no-preview") == 0
    edited = folder / "out" / f"scan{ending}"
    content, later = edited.read_bytes(), edited.stat().st_mtime + 600
    os.utime(edited, (later, later))
    undo = ["refine", str(folder / "scan.nii.gz"), "--undo", "--no-preview", "-o", str(folder / "out")]
    assert main(undo) == 1
    assert f"{edited}: expected a file as the correction left it, found one that was changed" in capsys.readouterr().err
    assert edited.read_bytes() == content
    assert (folder / "out" / "scan.before.labels.nii.gz").exists()
    assert main([*undo, "--overwrite"]) == 0


def test_after_another_segmentation_there_is_no_correction_to_take_back(folder: Path) -> None:
    """Labels from before a correction are not those from before what replaced it. Strokes are the user's, and stay."""
    assert refine(folder) == 0
    ct, labels = read_ct(folder / "scan.nii.gz"), read_labelmap(folder / "start.nii.gz")
    again = SegmentResult(labels, ct, load_models("embedded"), SegmentOptions(), {}, {}, "",
                          CTSource(folder / "scan.nii.gz", None))
    again.save(folder / "out", overwrite=True)
    assert not (folder / "out" / "scan.changes.csv").exists()
    assert (folder / "out" / "scan.scribble.nii.gz").exists()
    assert main(["refine", str(folder / "scan.nii.gz"), "--undo", "-o", str(folder / "out")]) == 1
    assert np.array_equal(read_labelmap(folder / "out" / "scan.labels.nii.gz").array, labels.array)


def test_our_dicom_of_before_a_correction_goes(tmp_path: Path) -> None:
    _, labels = make_case(tmp_path / "ct")
    write_labelmap(tmp_path / "labels.nii.gz", labels)
    series = tmp_path / "ct"
    bundle = load_models("embedded", "mean")
    SegmentResult(labels, read_ct(series), bundle, SegmentOptions(dicom=("seg", "rtstruct"), preview=False), {}, {}, "",
                  CTSource(series)).save(tmp_path / "out")
    assert (tmp_path / "out" / "ct.seg.dcm").exists()
    points = [(labels.grid.matrix @ [column, 5, 5, 1])[:3].tolist() for column in (5, 9)]
    write_strokes(tmp_path / "s.json", Strokes(image="ct", drawn_by="a test", licence="CC0-1.0", strokes=[
        Stroke(organ="spleen", points=points, width_mm=6.0)]))
    assert main(["refine", str(series), "--strokes", str(tmp_path / "s.json"), "--labels",
                 str(tmp_path / "labels.nii.gz"), "-o", str(tmp_path / "out"), "--overwrite", "--no-preview"]) == 0
    assert list((tmp_path / "out").glob("*.dcm")) == []


def test_a_correction_that_changes_nothing_has_a_table(folder: Path, capsys: pytest.CaptureFixture) -> None:
    content = json.loads((folder / "s.json").read_text())
    content["strokes"][0]["organ"] = "background"
    (folder / "s.json").write_text(json.dumps(content))
    assert refine(folder, "--no-preview") == 0
    assert "no voxel changed" in capsys.readouterr().out
    assert (folder / "out" / "scan.changes.csv").read_text().splitlines() == ["organ,gained_ml,lost_ml,farthest_mm"]


def test_one_file(folder: Path) -> None:
    arguments = ["refine", str(folder / "scan.nii.gz"), "--strokes", str(folder / "s.json"), "--labels",
                 str(folder / "start.nii.gz"), "-o", str(folder / "after.nii.gz")]
    assert main(arguments) == 0
    assert (read_labelmap(folder / "after.nii.gz").array == SPLEEN).sum() > 800


def test_events_carry_the_changes(folder: Path, capfd: pytest.CaptureFixture) -> None:
    assert refine(folder, "--json-events") == 0
    events = [json.loads(text) for text in capfd.readouterr().out.splitlines()]
    [result] = [event for event in events if event["event"] == "result"]
    assert [change["organ"] for change in result["changes"]] == ["spleen"]
    assert result["files"]["before"].endswith("scan.before.labels.nii.gz")
    assert {event["stage"]: event["done"] for event in events if event["event"] == "progress"} == {"strokes": 1}


def test_without_labels_the_ct_is_segmented_first(folder: Path) -> None:
    result = pos.refine(folder / "scan.nii.gz", folder / "s.json", device="cpu")
    assert "windows" in result.segmented.seconds
    z, y, x = FIRST_MIDDLE
    assert result.array[z, y, x] == SPLEEN


def test_strokes_that_do_not_fit_show_before_the_ct_is_segmented(folder: Path, capfd: pytest.CaptureFixture) -> None:
    content = json.loads((folder / "s.json").read_text())
    content["strokes"][0]["organ"] = "hart"
    (folder / "s.json").write_text(json.dumps(content))
    assert main(["refine", str(folder / "scan.nii.gz"), "--strokes", str(folder / "s.json"), "-o", str(folder / "out"),
                 "--json-events"]) == 1
    events = [json.loads(text) for text in capfd.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["started", "error"]
    assert "stroke 0: unknown organ 'hart'" in events[-1]["message"]


@pytest.mark.parametrize(("options", "line"), [
    (["--accepted", "splen"], "accepted: unknown organ 'splen' (did you mean 'spleen'?)"),
    (["--accepted", ","], "accepted: expected organ names separated by commas, found none"),
    (["--labels", "nowhere.nii.gz"], "labels: nowhere.nii.gz: expected a labelmap file, found nothing there"),
    (["--undo"], "not allowed with argument"),
    (["--strokes", "second.json"], "--strokes: expected one file, found 2; correct with one after the other"),
    (["--label-space", "word16"], "--label-space: expected it beside --serve alone, found none; --model says"),
])
def test_what_is_refused(folder: Path, options: list[str], line: str, capsys: pytest.CaptureFixture) -> None:
    assert refine(folder, *options) > 0
    [error] = [text for text in capsys.readouterr().err.splitlines() if text.startswith("error: ")]
    assert line in error


def test_what_a_server_is_sent_is_no_option_of_it(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["refine", str(folder / "scan.nii.gz"), "--serve", "-o", str(folder / "out"), "--labels",
                 str(folder / "start.nii.gz")]) == 2
    assert "--labels: expected it in the requests, found it beside --serve" in capsys.readouterr().err


def test_a_server_answers_as_events_alone(folder: Path, capsys: pytest.CaptureFixture) -> None:
    """Without them it took requests, and nobody ever saw an answer."""
    assert main(["refine", str(folder / "scan.nii.gz"), "--serve", "-o", str(folder / "out")]) == 2
    assert "--serve: expected --json-events beside it, as which it answers, found none" in capsys.readouterr().err


@pytest.mark.parametrize(("place", "line"), [
    ("file", "expected a folder that can be written, found a file"), ("file/below.nii.gz", "found a file"),
    ("earlier", "scan.scribble.csv: expected no such file yet, found an earlier result")])
def test_what_is_in_the_way_shows_before_the_ct_is_segmented(folder: Path, place: str, line: str,
                                                             monkeypatch: pytest.MonkeyPatch,
                                                             capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr("PartialOrganSegLib.refining.refiner.refine", lambda *_, **_options: pytest.fail("it worked"))
    (folder / "file").write_text("mine")
    (folder / "earlier").mkdir()
    (folder / "earlier" / "scan.scribble.csv").write_text("value,organ\n")
    assert main(["refine", str(folder / "scan.nii.gz"), "--strokes", str(folder / "s.json"), "-o",
                 str(folder / place)]) == 1
    assert line in capsys.readouterr().err
    assert (folder / "file").read_text() == "mine"


def test_strokes_are_not_written_over(folder: Path, capsys: pytest.CaptureFixture) -> None:
    """They may be all there is of what somebody drew."""
    assert refine(folder) == 0
    drawn = folder / "drawn.nii.gz"
    content = (folder / "out" / "scan.scribble.nii.gz").read_bytes()
    drawn.write_bytes(content)
    command = ["refine", str(folder / "scan.nii.gz"), "--strokes", str(drawn), "--labels", str(folder / "start.nii.gz"),
               "-o", str(drawn), "--overwrite"]
    assert main(command) == 1
    assert f"{drawn}: expected another file than the one that is read" in capsys.readouterr().err
    assert drawn.read_bytes() == content


def test_a_map_of_strokes_is_of_the_organs_in_the_table_beside_it(folder: Path, capsys: pytest.CaptureFixture) -> None:
    """Another model numbers its organs otherwise: its strokes became those of other organs."""
    assert refine(folder, "--no-preview") == 0
    ours = read_labelmap(folder / "out" / "scan.labels.nii.gz").array
    other = folder / "others ä.scribble.nii.gz"
    drawn = read_labelmap(folder / "out" / "scan.scribble.nii.gz")
    write_labelmap(other, Volume(np.where(drawn.array == SPLEEN, 7, drawn.array).astype(np.uint8), drawn.grid))
    table = folder / "others ä.scribble.csv"
    table.write_text("value,organ\n7,spleen\n", "utf-8")
    command = ["refine", str(folder / "scan.nii.gz"), "--strokes", str(other), "--labels",
               str(folder / "start.nii.gz"), "-o", str(folder / "theirs.nii.gz")]
    assert main(command) == 0
    np.testing.assert_array_equal(read_labelmap(folder / "theirs.nii.gz").array, ours)
    table.write_text("value,organ\n7,lump\n", "utf-8")
    assert main([*command, "--overwrite"]) == 1
    assert f"{other}: expected strokes of the organs of word16, found one of lump" in capsys.readouterr().err


def test_strokes_of_another_ct(folder: Path, capsys: pytest.CaptureFixture) -> None:
    content = json.loads((folder / "s.json").read_text())
    (folder / "s.json").write_text(json.dumps(content | {"size": [9, 9, 9]}))
    assert refine(folder) == 1
    assert "s.json: expected strokes of this CT (56 x 48 x 24 voxels), found those of another (9 x" in (
        capsys.readouterr().err)
    assert not (folder / "out").exists() or not any((folder / "out").iterdir())


def test_strokes_that_name_another_image(folder: Path, capsys: pytest.CaptureFixture) -> None:
    content = json.loads((folder / "s.json").read_text())
    (folder / "s.json").write_text(json.dumps(content | {"image": "case_7.nii.gz"}))
    assert refine(folder, "--no-preview") == 0
    assert ("warning: strokes: expected some that were drawn on scan.nii.gz, found 'case_7.nii.gz' as their image; "
            "look whether they belong to this CT") in capsys.readouterr().err


def test_strokes_of_another_series(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    _, labels = make_case(tmp_path / "ct")
    write_labelmap(tmp_path / "labels.nii.gz", labels)
    points = [(labels.grid.matrix @ [column, 5, 5, 1])[:3].tolist() for column in (5, 9)]
    strokes = Strokes(image="ct", drawn_by="a test", licence="CC0-1.0", series_uid="1.2.3",
                      strokes=[Stroke(organ="spleen", points=points, width_mm=6.0)])
    write_strokes(tmp_path / "s.json", strokes)
    arguments = ["refine", str(tmp_path / "ct"), "--strokes", str(tmp_path / "s.json"), "--labels",
                 str(tmp_path / "labels.nii.gz"), "-o", str(tmp_path / "after.nii.gz")]
    assert main(arguments) == 1
    assert "found those of another (series 1.2.3)" in capsys.readouterr().err
    uid = dcmread(next((tmp_path / "ct").iterdir())).SeriesInstanceUID
    write_strokes(tmp_path / "s.json", strokes.model_copy(update={"series_uid": str(uid)}))
    assert main(arguments) == 0
