"""What the report of `evaluate` shows: its page, the tables and the pictures on it."""

from __future__ import annotations

import base64
import csv
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.evaluation.box_plot import Boxes, box_plot
from PartialOrganSegLib.evaluation.overlay import PREDICTION, REFERENCE, overlay_png
from PartialOrganSegLib.formats.writing import write_labelmap
from PartialOrganSegLib.imaging.volume import Grid, Volume
from Testing.helpers.evaluation_study import GRID, labels, scores
from Testing.helpers.html_page import Page


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
