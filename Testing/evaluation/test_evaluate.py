"""The command `evaluate`: what is scored, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.evaluation.pairing import labelled_name
from PartialOrganSegLib.formats.writing import write_labelmap
from PartialOrganSegLib.imaging.volume import Volume
from Testing.helpers.evaluation_study import GRID, labels, scores


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
