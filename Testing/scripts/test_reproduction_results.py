"""How rows of the papers' tables are compared: figures of an organ, learning curves and decided claims."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from Testing.helpers.repository import SCRIPTS

sys.path.insert(0, str(SCRIPTS))
from reproduction.chart import PAPERS, Bar, draw_chart
from reproduction.comparison import HOLDS, NOT_DECIDED, OPPOSITE, judge_claims
from reproduction.curves import COLOURS, HEIGHT, LEFT, TOP, WIDTH, Panel, draw_curves, mean_curve
from reproduction.processes import run_commands
from reproduction.results import Result, learning_curve, organ_figures, processor_seconds, read_result
from reproduction.table import Claim
from reproduction.tables import TABLES


def results(*means: float) -> dict[int, Result]:
    """A result a seed; four test cases around its mean Dice."""
    runs = {}
    for seed, mean in enumerate(means):
        dice = {f"case{n}": {"liver": mean + 0.01 * (n - 1.5), "spleen": None} for n in range(4)}
        runs[seed] = Result(dice, 1.0)
    return runs


@pytest.mark.parametrize(("better", "worse", "verdict"), [
    ((0.80, 0.81, 0.82), (0.70, 0.72, 0.71), HOLDS), ((0.70, 0.72, 0.71), (0.80, 0.81, 0.82), OPPOSITE),
    ((0.70, 0.80, 0.72), (0.72, 0.70, 0.71), NOT_DECIDED), ((0.80, 0.85), (0.70, 0.72), NOT_DECIDED),
    ((0.90,), (0.10,), NOT_DECIDED)])  # one seed shows nothing, however far apart
def test_claims_are_decided_by_differences_that_could_be_detected(better, worse, verdict):
    table = replace(TABLES["pann"], claims=(Claim("pann_abc", "full"), Claim("own", "full")))
    # The second claim names a row that was not run: it is left out, not reported as undecided.
    (judged,) = judge_claims(table, {"pann_abc": results(*better), "full": results(*worse)})
    assert judged.verdict == verdict
    assert judged.over_seeds.mean == pytest.approx(np.mean(better) - np.mean(worse))
    assert judged.over_seeds.pairs == len(better)
    assert judged.over_cases.pairs == 4
    assert judged.over_cases.detectable == pytest.approx(0)  # all cases of a seed differ alike
    published = {row.key: row.published.dice for row in table.rows}
    assert judged.published == pytest.approx(published["pann_abc"] - published["full"])


def test_a_difference_of_a_few_test_cases_is_not_decided():
    """Every seed agrees, but the whole difference comes from one of four cases."""
    better, worse = results(0.7, 0.701, 0.702), results(0.7, 0.701, 0.702)
    for run in better.values():
        run.dice["case0"]["liver"] += 0.2
    table = replace(TABLES["pann"], claims=(Claim("pann_abc", "full"),))
    (judged,) = judge_claims(table, {"pann_abc": better, "full": worse})
    # Over seeds it is clear; a Dice that depends on one patient still says nothing about other patients.
    assert judged.over_seeds.low > 0.04
    assert judged.verdict == NOT_DECIDED


def test_figures_of_an_organ():
    reference = np.zeros((10, 20, 20), bool)
    reference[3:7, 5:15, 5:15] = True
    predicted = np.roll(reference, 2, axis=2)
    dice, hd95, hausdorff = organ_figures(predicted, reference, (4.0, 2.0, 3.0))
    assert dice == pytest.approx(0.8)
    assert hausdorff == 6.0  # two voxels of 3 mm
    assert 0 < hd95 <= hausdorff
    assert organ_figures(predicted, np.zeros_like(reference), (1.0, 1.0, 1.0)) == (0.0, None, None)
    nothing = np.zeros_like(reference)
    assert organ_figures(nothing, nothing, (1.0, 1.0, 1.0)) == (None, None, None)
    # An organ that was missed has a Dice of 0 but no distance: it counts as missed, not as 0 mm.
    run = Result({"a": {"liver": 0.0, "spleen": None}}, 1.0, {"a": {"liver": None, "spleen": None}})
    assert run.missed() == 1
    assert run.mean_distance(run.hd95) is None
    # One that was found beside the reference has both.
    dice, hd95, _ = organ_figures(np.roll(reference, 10, axis=2), reference, (4.0, 2.0, 3.0))
    run = Result({"a": {"liver": 0.0, "spleen": dice}}, 1.0, {"a": {"liver": None, "spleen": hd95}})
    assert (dice, run.missed()) == (0.0, 1)


def test_the_learning_curve_and_its_slope(tmp_path):
    lines = [{"step": step, "loss": 2 - step / 1000, "seconds": 0.5, "processor": 0.25} for step in range(10, 1010, 10)]
    text = "".join(json.dumps(line) + "\n" for line in [*lines, {"step": 1000, "dice_liver": 0.5}])
    (tmp_path / "log.jsonl").write_text(text, encoding="utf-8")
    curve, seconds = learning_curve(tmp_path / "log.jsonl")
    assert seconds == 0.5
    assert processor_seconds(tmp_path / "log.jsonl") == 0.25
    (tmp_path / "older.jsonl").write_text('{"step": 10, "loss": 1.0, "seconds": 0.5}\n', encoding="utf-8")
    assert processor_seconds(tmp_path / "older.jsonl") is None
    # Twice as many points were logged: the curve is thinned to what a chart can show.
    assert len(curve) == 50
    assert curve[-1] == (1000, pytest.approx(1.005))
    assert Result({}, seconds, steps=1000, curve=curve).slope() == pytest.approx(-1.0)
    assert Result({}, seconds, steps=10, curve=[(10, 1.0)]).slope() is None


def test_results_of_other_versions_are_read(tmp_path):
    """Runs of days are not repeated for a figure more: what is lacking has a default, what is unknown is left out."""
    result = Result({"a": {"liver": 0.5}}, 0.2, {"a": {"liver": 3.0}}, {"a": {"liver": 4.0}}, 10, [(10, 1.0)], [], 0.1)
    result.write(tmp_path / "result.json")
    assert read_result(tmp_path / "result.json") == result
    content = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    del content["processor_seconds"], content["kl"]
    (tmp_path / "result.json").write_text(json.dumps(content | {"later": 1}), encoding="utf-8")
    assert read_result(tmp_path / "result.json") == replace(result, processor_seconds=None)


def test_curves_are_drawn_in_the_rows_colours(tmp_path):
    """Each row's line is where its values are, on a log scale; a row with values of zero does not stop the picture."""
    falling = [(100 * number, 10.0 ** -number) for number in range(1, 4)]
    assert mean_curve([falling, [(100, 0.3), (300, 0.003)]]) == [(100, pytest.approx(0.2)), (300, pytest.approx(0.002))]
    level = [(100 * number, 0.1) for number in range(1, 4)]
    draw_curves(tmp_path / "c.png", [Panel("loss", {"falling": [falling], "level": [level], "none": [[(100, 0.0)]]}),
                                     Panel("KL", {"met": [[(100, 0.0)]]})])
    with Image.open(tmp_path / "c.png") as picture:
        image = np.asarray(picture.convert("RGB")).astype(int)
    plot = image[TOP:TOP + HEIGHT, LEFT:LEFT + WIDTH + 3]
    rows = {}
    for colour in COLOURS[:2]:
        rows[colour], columns = np.nonzero((np.abs(plot - colour) < 40).all(-1))
        assert columns.min() == pytest.approx(WIDTH / 3, abs=3)
        assert columns.max() == pytest.approx(WIDTH, abs=3)
    assert (rows[COLOURS[0]].min(), rows[COLOURS[0]].max()) == (pytest.approx(0, abs=3), pytest.approx(HEIGHT, abs=3))
    assert rows[COLOURS[1]].max() <= 3  # level at the highest value


@pytest.mark.parametrize("words", [1, 12])
def test_a_chart_has_room_for_every_title(tmp_path, words):
    """A long one began left of the picture."""
    draw_chart(tmp_path / "chart.png", "table", [Bar("recipe " * words, [.5, .6], None)])
    pixels = np.asarray(Image.open(tmp_path / "chart.png").convert("L"))
    assert pixels[70:, :10].min() == 255  # nothing is cut off at the border
    assert pixels[70:118, 10:].min() < 200


@pytest.mark.parametrize("published", [None, .7])
def test_a_chart_explains_the_papers_mark_where_there_is_one(tmp_path, published):
    draw_chart(tmp_path / "chart.png", "table", [Bar("row", [.5], published)])
    legend = np.asarray(Image.open(tmp_path / "chart.png").convert("RGB"))[40:65]
    assert bool((legend == PAPERS).all(-1).any()) is (published is not None)


def test_commands_run_side_by_side_and_stop_together(tmp_path):
    codes = dict(run_commands([[sys.executable, "-c", f"raise SystemExit({code})"] for code in (0, 3, 0)], 2))
    assert codes == {0: 0, 1: 3, 2: 0}
    late = tmp_path / "late"
    slow = f"import time, pathlib; time.sleep(2); pathlib.Path({str(late)!r}).touch()"
    ending = run_commands([[sys.executable, "-c", ""], [sys.executable, "-c", slow]], 2)
    assert next(ending) == (0, 0)
    # Whoever stops the first ends them all; a forgotten training would go on for hours.
    ending.close()
    time.sleep(2.5)
    assert not late.exists()
