"""The command `evaluate`: what belongs together, what is refused, and what the files say."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.evaluation.box_plot import Boxes, box_plot
from PartialOrganSegLib.evaluation.evaluation import resample_labels
from PartialOrganSegLib.evaluation.overlay import PREDICTION, REFERENCE, overlay_png
from PartialOrganSegLib.evaluation.pairing import labelled_name
from PartialOrganSegLib.formats.writing import write_ct, write_labelmap
from PartialOrganSegLib.imaging.volume import Grid, Volume
from Testing.helpers.other_orders import stored_otherwise

GRID = Grid((12, 10, 8), (1.5, 1.5, 4.0), (-5.0, 7.0, -30.0))


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    # Logs of the user who runs the tests stay as they are.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def labels(shift: int = 0, organs: tuple[int, ...] = (1, 2)) -> Volume:
    """A cuboid an organ, moved along x."""
    array = np.zeros(GRID.shape, np.uint8)
    for place, organ in enumerate(organs):
        array[2:6, 1 + 4 * place:4 + 4 * place, 2 + shift:7 + shift] = organ
    return Volume(array, GRID)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Three references with CTs, predictions of two models; the second model misses the spleen of case é."""
    for folder in ("ref", "ct", "good", "poor"):
        (tmp_path / folder).mkdir()
    for number, case in enumerate(("a", "b 2", "é")):
        write_labelmap(tmp_path / "ref" / f"{case}_label.nii.gz", labels())
        write_ct(tmp_path / "ct" / f"{case}.nii.gz", Volume(np.full(GRID.shape, 40, np.int16), GRID))
        write_labelmap(tmp_path / "good" / f"{case}.labels.nii.gz", labels(number // 2))
        write_labelmap(tmp_path / "poor" / f"{case}.labels.nii.gz", labels(2, (1,) if case == "é" else (1, 2)))
    return tmp_path


def scores(folder: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    with open(folder / "scores.csv", encoding="utf-8", newline="") as stream:
        return {(row["model"], row["case"], row["structure"]): row for row in csv.DictReader(stream)}


class Page(HTMLParser):
    """Tags that stay open, addresses that are named, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href", "xlink:href") and value]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_two_models_on_a_folder(study, capsys):
    out = study / "out"
    command = ["evaluate", str(study / "good"), str(study / "ref"), "--against", str(study / "poor"), "-o", str(out),
               "--images", str(study / "ct"), "--worst", "2", "--annotated", "all"]
    assert main(command) == 0
    table = scores(out)
    assert len(table) == 2 * 3 * 16
    assert float(table["good", "a", "liver"]["dice"]) == 1
    assert float(table["good", "é", "liver"]["dice"]) == pytest.approx(0.8)
    assert float(table["good", "é", "liver"]["hd95_mm"]) == pytest.approx(1.5)
    missed = table["poor", "é", "spleen"]
    assert (missed["found"], missed["dice"], missed["hd95_mm"]) == ("not predicted", "0", "")
    assert table["poor", "é", "colon"]["dice"] == ""
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    liver = summary["models"]["good"]["structures"][0]
    assert liver["figures"]["dice"]["mean"] == pytest.approx((1 + 1 + 0.8) / 3)
    assert [row["structure"] for row in summary["comparison"]] == ["liver", "spleen", "mean over cases"]
    assert summary["published"] == []  # no paper has liver and spleen alone
    assert "Published" not in (out / "report.md").read_text(encoding="utf-8")
    (missed,) = [row for row in summary["models"]["good"]["missed"] if row["structure"] == "liver"]
    assert missed["called_ml"] == {"background": pytest.approx(12 * 9e-3)}  # of case é, a slab one voxel thick
    assert "| liver | mask | 3 | 93.3 ± 11.5 |" in (out / "report.md").read_text(encoding="utf-8")
    assert "93.3 ± 11.5" in capsys.readouterr().out
    assert main(command) == 1
    assert "--overwrite" in capsys.readouterr().err


def test_published_rows_stand_beside_where_all_their_organs_were_measured(study):
    """Of WORD's sixteen organs fifteen are no comparison with sixteen."""
    organs = tuple(range(1, 17))
    array = np.zeros(GRID.shape, np.uint8)
    for organ in organs:
        array[organ // 2 % 8, organ % 2 * 5:organ % 2 * 5 + 4, 2:8] = organ
    for folder, keep in (("all", organs), ("fewer", organs[:-1])):
        (study / folder).mkdir()
        write_labelmap(study / folder / "a.nii.gz", Volume(np.where(np.isin(array, keep), array, 0).astype(np.uint8),
                                                           GRID))
    shifted = Volume(np.roll(array, 1, axis=2), GRID)
    write_labelmap(study / "a.labels.nii.gz", shifted)
    rows = {}
    for folder in ("all", "fewer"):
        out = study / f"out {folder}"
        prediction = study / "a.labels.nii.gz" if folder == "all" else study / "fewer" / "a.nii.gz"
        assert main(["evaluate", str(prediction), str(study / folder / "a.nii.gz"), "-o", str(out)]) == 0
        summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
        rows[folder] = {row["row"]["method"]: row for row in summary["published"]}
    assert not [method for method, row in rows["fewer"].items() if len(row["row"]["organs"]) == 16]
    assert "marginal loss" in rows["fewer"]
    word = rows["all"]["nnU-Net 3D, full labels"]
    means = {row["structure"]: row["figures"] for row in json.loads(
        (study / "out all" / "summary.json").read_text(encoding="utf-8"))["models"]["a.labels.nii.gz"]["structures"]}
    for figure, ours in (("dice", "ours"), ("hd95_mm", "ours_hd95"), ("hausdorff_mm", "ours_hausdorff")):
        assert word[ours] == pytest.approx(np.mean([means[organ][figure]["mean"] for organ in word["row"]["organs"]]))
    # Luo's tables 2 and 3 have Dice 87.44 of the one network and HD95 8.84 of the other; up to 0.4 they were one row.
    assert (word["row"]["dice"], word["row"]["hd95"]) == (0.8744, 10.33)
    v2 = rows["all"]["nnU-Net V2 3D, full labels"]["row"]
    assert (v2["dice"], v2["hd95"]) == (0.8741, 8.84)
    assert rows["all"]["marginal loss"]["row"]["hausdorff"] == 4.43
    assert "Published figures beside these" in (study / "out all" / "report.html").read_text(encoding="utf-8")


def test_what_was_missed_is_named_and_so_are_precision_and_recall(study):
    """The spleen's upper half is called liver; a slab before it, in the background, is called spleen."""
    reference, predicted = labels(), labels()
    predicted.array[4:6][reference.array[4:6] == 2] = 1
    predicted.array[1][reference.array[2] == 2] = 2
    write_labelmap(study / "a.nii.gz", predicted)
    write_labelmap(study / "a_label.nii.gz", reference)
    assert main(["evaluate", str(study / "a.nii.gz"), str(study / "a_label.nii.gz"), "-o", str(study / "out")]) == 0
    row = scores(study / "out")["a.nii.gz", "a", "spleen"]
    assert (float(row["recall"]), float(row["precision"])) == (pytest.approx(0.5), pytest.approx(2 / 3, rel=1e-5))
    with open(study / "out" / "confusion.csv", encoding="utf-8", newline="") as stream:
        (confusion,) = csv.DictReader(stream)
    assert (confusion["structure"], confusion["called"], float(confusion["share"])) == ("spleen", "liver", 0.5)
    assert float(confusion["ml"]) == pytest.approx((reference.array[4:6] == 2).sum() * 9e-3)
    page = Page((study / "out" / "report.html").read_text(encoding="utf-8")).text
    assert "spleen 57.1 % (precision 66.7 %, recall 50.0 %); 0.3 ml missed, called liver 100 %" in page
    assert "| spleen | 0.3 | liver 100 % |" in (study / "out" / "report.md").read_text(encoding="utf-8")
    assert main(["evaluate", str(study / "a.nii.gz"), str(study / "a.nii.gz"), "-o", str(study / "same")]) == 0
    assert (study / "same" / "confusion.csv").read_text(encoding="utf-8").count("\n") == 1


def test_precision_and_recall_of_strokes_and_of_decided_voxels(study):
    drawn = np.full(GRID.shape, 255, np.uint8)
    drawn[3, 2, 2:7] = 1
    drawn[3, 2, 8:11] = 0
    write_labelmap(study / "a.scribble.nii.gz", Volume(drawn, GRID))
    assert main(["evaluate", str(study / "poor" / "a.labels.nii.gz"), str(study / "a.scribble.nii.gz"), "-o",
                 str(study / "drawn"), "--scribble"]) == 0
    (row,) = scores(study / "drawn").values()
    # x 4..8 is predicted, of which 4, 5 and 6 are drawn on as organ and 8 as background
    assert (float(row["recall"]), float(row["precision"])) == (pytest.approx(3 / 5), pytest.approx(3 / 4))


def test_the_report_is_one_whole_file_without_addresses(study):
    assert main(["evaluate", str(study / "good"), str(study / "ref"), "--names", "<b>mine</b>", "-o",
                 str(study / "out"), "--worst", "2"]) == 0
    text = (study / "out" / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert not page.tags & {"script", "link", "iframe", "object", "b"}
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    # A page that loads anything would tell a server whose patient is looked at.
    assert "http" not in text.replace("http-equiv", "")
    assert "url(" not in text
    assert "<b>mine</b>" in page.text
    assert "svg" in page.tags
    captions = re.findall(r"<figcaption>(.*?):", text)
    assert captions[0] == "é"
    # Two pictures were asked for: the worst first.
    assert len(captions) == 2
    for source in page.sources:
        assert Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).size[0] > 100


def test_another_grid_is_told_and_resampled_on_request(study, capsys):
    # The same box with voxels half as wide: the first centre lies a quarter of a voxel further out.
    finer = Grid((24, 20, 8), (0.75, 0.75, 4.0), (-5.375, 6.625, -30.0))
    write_labelmap(study / "good" / "a.labels.nii.gz", resample_labels(labels(), finer))
    command = ["evaluate", str(study / "good"), str(study / "ref"), "-o", str(study / "out")]
    assert main(command) == 1
    line = next(line for line in capsys.readouterr().err.splitlines() if "grid, " in line)
    assert "expected the reference's grid, size (12, 10, 8), spacing (1.5, 1.5, 4)" in line
    assert "found size (24, 20, 8), spacing (0.75, 0.75, 4)" in line
    assert "--resample" in line
    assert ("good", "a", "liver") not in scores(study / "out")
    assert main([*command, "--resample", "--overwrite"]) == 0
    assert float(scores(study / "out")["good", "a", "liver"]["dice"]) == 1
    assert "put on the reference's grid (nearest neighbour): a" in (study / "out" / "report.md").read_text("utf-8")


def test_a_prediction_in_another_axis_order_is_scored_as_it_is(study):
    write_labelmap(study / "good" / "a.labels.nii.gz", stored_otherwise(labels()))
    assert main(["evaluate", str(study / "good"), str(study / "ref"), "-o", str(study / "out")]) == 0
    assert float(scores(study / "out")["good", "a", "liver"]["dice"]) == 1
    assert "nearest neighbour" not in (study / "out" / "report.md").read_text("utf-8")


def test_a_grid_that_differs_in_its_directions_alone_is_told_by_these(study, capsys):
    """What was expected and what was found looked the same, word by word."""
    turned = Grid(GRID.size, GRID.spacing, GRID.origin, (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
    write_labelmap(study / "good" / "a.labels.nii.gz", Volume(labels().array, turned))
    assert main(["evaluate", str(study / "good"), str(study / "ref"), "-o", str(study / "out")]) == 1
    assert ("expected the reference's grid, direction (1, 0, 0, 0, 1, 0, 0, 0, 1), "
            "found direction (-1, 0, 0, 0, -1, 0, 0, 0, 1); --resample") in capsys.readouterr().err


def test_a_resampled_prediction_that_ends_before_the_reference(study, capsys):
    """Elsewhere altogether it is no prediction of that case; a part of the CT scores what it holds, and says so."""
    elsewhere = Grid(GRID.size, GRID.spacing, (900.0, 7.0, -30.0))
    write_labelmap(study / "good" / "a.labels.nii.gz", Volume(labels().array, elsewhere))
    left = Grid((4, 10, 8), GRID.spacing, GRID.origin)
    write_labelmap(study / "good" / "b 2.labels.nii.gz", Volume(labels().array[:, :, :4].copy(), left))
    assert main(["evaluate", str(study / "good"), str(study / "ref"), "-o", str(study / "out"), "--resample"]) == 1
    warned = capsys.readouterr().err
    assert "error: a: " in warned
    assert "expected some of the reference's place, origin (-5, 7, -30), found origin (900, 7, -30)" in warned
    assert "b 2.labels.nii.gz: 60.0% of the reference's organs lies beyond the prediction's end" in warned
    table = scores(study / "out")
    assert ("good", "a", "liver") not in table
    assert float(table["good", "b 2", "liver"]["recall"]) == pytest.approx(0.4)


def test_an_organ_that_was_asked_for_and_no_reference_annotates_is_told(study, capsys):
    pair = [str(study / "poor" / "a.labels.nii.gz"), str(study / "ref" / "a_label.nii.gz")]
    assert main(["evaluate", *pair, "-o", str(study / "out"), "--annotated", "spleen", "--organs",
                 "spleen,bladder,liver"]) == 0
    assert [key[2] for key in scores(study / "out")] == ["spleen"]
    assert "no reference that was scored annotates liver, bladder apart from other organs" in capsys.readouterr().err


def test_partial_and_scribble_references(study):
    pair = [str(study / "poor" / "a.labels.nii.gz"), str(study / "ref" / "a_label.nii.gz")]
    assert main(["evaluate", *pair, "-o", str(study / "part"), "--annotated", "spleen"]) == 0
    assert [key[2] for key in scores(study / "part")] == ["spleen"]
    drawn = np.full(GRID.shape, 255, np.uint8)
    drawn[3, 2, 2:7] = 1
    drawn[3, 2, 8:11] = 0
    write_labelmap(study / "a.scribble.nii.gz", Volume(drawn, GRID))
    assert main(["evaluate", pair[0], str(study / "a.scribble.nii.gz"), "-o", str(study / "drawn"), "--scribble"]) == 0
    (row,) = scores(study / "drawn").values()
    assert (row["structure"], row["measured_on"], row["hd95_mm"]) == ("liver", "strokes", "")
    assert float(row["dice"]) == pytest.approx(2 * 3 / (5 + 4), rel=1e-5)  # x 4..8 predicted, 7 is not drawn on


def test_a_manifest_says_what_its_cases_vouch_for(study, capsys):
    (study / "m.yaml").write_text("""
datasets:
  - {name: full, root: ., kind: full, cases: [{image: ct/a.nii.gz, label: ref/a_label.nii.gz, name: first}]}
  - {name: part, root: ., kind: partial, annotated: [liver],
     cases: [{image: ct/b 2.nii.gz, label: ref/b 2_label.nii.gz}], label_map: {2: liver}}
  - {name: rest, root: ., kind: unlabelled, cases: [{image: ct/é.nii.gz}]}
""", encoding="utf-8")
    assert main(["evaluate", str(study / "good"), str(study / "m.yaml"), "-o", str(study / "out"), "--organs",
                 "spleen,liver"]) == 0
    table = scores(study / "out")
    assert [key[1:] for key in table] == [("first", "liver"), ("first", "spleen"), ("b 2", "liver")]
    assert float(table["good", "b 2", "liver"]["dice"]) == pytest.approx(2 / 3, rel=1e-5)
    assert "no reference for é.labels.nii.gz" in capsys.readouterr().err
    assert main(["evaluate", str(study / "good"), str(study / "m.yaml"), "-o", str(study / "o"), "--scribble"]) == 1
    assert "the manifest says what its cases are" in capsys.readouterr().err


def test_the_page_has_the_means_of_the_tables(study):
    """Masks and decided voxels are never averaged together, not in a case's mean either."""
    reference, predicted = labels().array, labels().array.copy()
    reference[0, 0, 0:2], reference[0, 1, 0:4] = 15, 20
    predicted[0, 0, 0:1] = 15
    write_labelmap(study / "ref" / "a_label.nii.gz", Volume(reference, GRID))
    write_labelmap(study / "good" / "a.labels.nii.gz", Volume(predicted, GRID))
    (study / "m.yaml").write_text("""
datasets:
  - {name: part, root: ., kind: partial, annotated: [liver, spleen, head_of_left_femur],
     cases: [{image: ct/a.nii.gz, label: ref/a_label.nii.gz}], label_map: {20: [head_of_left_femur, background]}}
""", encoding="utf-8")
    assert main(["evaluate", str(study / "good"), str(study / "m.yaml"), "-o", str(study / "out")]) == 0
    summary = json.loads((study / "out" / "summary.json").read_text(encoding="utf-8"))
    means = {row["measured_on"]: row["figures"]["dice"]["mean"] for row in summary["models"]["good"]["structures"]
             if row["structure"] == "mean over cases"}
    assert means == {"mask": 1, "decided voxels": pytest.approx(2 / 3)}
    page = Page((study / "out" / "report.html").read_text(encoding="utf-8")).text
    assert "a: mean Dice 100.0 %, head of left femur 66.7 % on decided voxels" in page
    assert page.endswith("casemeanliverspleenhead of left femura100.0100.0100.066.7 d\n\n")
    assert "A case's mean is over its masks" in page


def test_what_has_no_partner_is_told(study, capsys):
    (study / "good" / "é.labels.nii.gz").unlink()
    command = ["evaluate", str(study / "good"), str(study / "ref"), "-o", str(study / "out")]
    assert main(command) == 0
    assert "no prediction for é" in capsys.readouterr().err
    assert "no prediction, counted nowhere: é" in (study / "out" / "report.md").read_text("utf-8")
    assert main(["evaluate", str(study / "poor"), str(study / "good" / "a.labels.nii.gz"), "-o",
                 str(study / "one")]) == 0
    (study / "stranger").mkdir()
    write_labelmap(study / "stranger" / "x.nii.gz", labels())
    assert main(["evaluate", str(study / "stranger"), str(study / "ref"), "-o", str(study / "none")]) == 1
    assert "expected predictions named like the references (a, ...), found 'x'" in capsys.readouterr().err


@pytest.mark.parametrize(("change", "message"), [
    (["--organs", "lever"], "did you mean 'liver'"), (["--label-space", "word17"], "did you mean 'word16'"),
    (["--names", "a,b"], "--names: expected a name for PRED, found a, b"),
    (["--names", ","], "--names: expected names separated by commas, found ','"),
    (["--names", ""], "--names: expected a value, found an empty one"),
    (["--annotated", "all,spleen"], "--annotated: expected organs or all, found both ('all,spleen')"),
    (["--annotated", "background,spleen"], "unknown organ 'background'"), (["--worst", "-1"], "--worst"),
    (["--against", "nowhere"], "nowhere: expected a file or a folder")])
def test_wrong_settings_are_one_line(change, message, study, capsys):
    assert main(["evaluate", str(study / "good"), str(study / "ref"), "-o", str(study / "out"), *change]) in (1, 2)
    *warnings, line = capsys.readouterr().err.splitlines()
    said = ("only liver, spleen in the references", "nothing says what the numbers mean")
    assert all(any(words in warning for words in said) for warning in warnings)
    assert message in line
    assert not (study / "out" / "scores.csv").exists()


def test_unknown_label_values_are_refused(study, capsys):
    write_labelmap(study / "good" / "a.labels.nii.gz", labels(organs=(1, 99)))
    assert main(["evaluate", str(study / "good"), str(study / "ref"), "-o", str(study / "out")]) == 1
    assert "expected labels 0..16 of word16, found 99" in capsys.readouterr().err
    assert ("good", "b 2", "liver") in scores(study / "out")


@pytest.mark.parametrize(("file", "name"), [("a_label.nii.gz", "a"), ("a.labels.nii.gz", "a"), ("a.b.NRRD", "a.b"),
                                            ("_label.nii", "_label"), ("liver_seg.mha", "liver")])
def test_names_of_cases(file, name):
    assert labelled_name(Path(file)) == name


def test_the_picture_shows_both_outlines_whatever_the_axes():
    ours, theirs = (labels(shift).array == 1 for shift in (2, 0))
    turned = Grid(GRID.size, GRID.spacing, GRID.origin, (-1.0, 0, 0, 0, 0, 1.0, 0, 1.0, 0))
    for grid in (GRID, turned):
        for ct in (None, Volume(np.full(GRID.shape, 40, np.int16), grid)):
            picture = np.asarray(Image.open(io.BytesIO(overlay_png(ct, ours, theirs, grid))))
            for colour in (PREDICTION, REFERENCE):
                assert (picture == colour).all(-1).sum() > 50


def test_boxes_have_quartiles_and_no_whisker_inwards():
    # The interpolated quartile lies beyond the last value within a whisker's reach, so the whisker would turn inwards.
    values = (0.0, 20.0, 25.0, 100.0)
    drawing = box_plot([Boxes("liver", (tuple((str(v), v) for v in values),))], "Dice", 100.0)
    box = re.search(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', drawing)
    left, width = float(box[1]), float(box[2])
    low, high = np.percentile(values, [25, 75])
    assert width / 560 * 100 == pytest.approx(high - low, abs=0.05)
    assert drawing.count("<circle") == 4
    whiskers = [tuple(map(float, ends)) for ends in re.findall(r'<line x1="([\d.]+)" x2="([\d.]+)"', drawing)]
    assert whiskers[0][1] <= left + 0.1
    assert whiskers[1][1] >= left + width - 0.1
