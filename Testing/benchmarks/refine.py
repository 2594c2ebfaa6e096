"""Strokes that correct one CT, against simpler ways to use the same strokes, drawn by a simulated user.

    python Testing/benchmarks/refine.py -o output/refine --model light-0.3.0 --cases crlm_1006 hcc_006 waw2144_eq
    python Testing/benchmarks/refine.py -o output/refine --table Resources/figures/refine.json

For every CT and every organ that its label can be compared with, the user looks for the largest error of that organ
(the largest connected part deeper than a rim of 1.5 mm), draws a stroke of 3 mm through its middle on the axial slice
where it is largest, and says what is there: the organ where it is missing, and where it is too much the reference's
label, mostly background. He sees the answer before the next stroke. Every organ begins at the model's labels anew.

Arms: `refine` (the library's session), `pasted` (nothing but the drawn voxels changes), `watershed` (SimpleITK's, on
the CT's gradient) and `random_walker` (scikit-image's), which grow the strokes and the cores of all start labels into
what lies between; a start label's core counts only farther than 25 mm from a stroke that contradicts it. `finetune`
teaches the model all strokes so far in 40 steps and segments the CT anew, minutes a stroke; it runs where it is asked
for (`--arms finetune`).

The CTs are those of ../shared/data/manifest.yaml, whose labels are mostly the network hk13's. The embedded model asks
that network itself, so the start is another's: `light-0.3.0`, a part of the embedded model 0.4.0. Settings were chosen
on crlm_1006, hcc_006 and waw2144_eq, since basins on crlm_1004 and waw2144_pv as well, as they are and with `--cut`;
`light-0.3.0` was trained without the CTs of `UNSEEN`. With `--manifest ../shared/data/manifest_test.yaml` the reference
is human, and nothing is chosen. With `--cut` a part of each organ is taken away from the start labels first, three to
six tenths: an error as thick as the organ. With `--share 0.4` the user draws four tenths of each stroke's length.
Figures: Dice of the organ and HD95 (mm) before and after 1, 3, 5, 10 strokes, the largest loss of another organ, and
seconds a stroke. Start labels are kept in OUT/starts, results in OUT/results.jsonl, a line an organ and arm, so that a
run goes on where it was ended.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PartialOrganSegLib.evaluation.metrics import dice
from PartialOrganSegLib.imaging.surface import surface_distances
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.refining.regions import box_of, padded_box
from PartialOrganSegLib.segmenting.options import SegmentOptions
from PartialOrganSegLib.segmenting.segmenter import Segmenter
from Testing.helpers.stroke_benchmark import (
    Corrector,
    append_rows,
    arguments_of,
    cases_of,
    read_rows,
    refining,
    write_table,
)
from Testing.helpers.stroke_rivals import from_markers, pasted, random_walker, watershed
from Testing.helpers.stroke_teaching import finetuned
from Testing.helpers.stroke_user import LEAST_VOXELS, Scene, User, load_scene

AFTER = (0, 1, 3, 5, 10)
AROUND_MM = 80.0  # more than a correction reaches
WHOLE_MM = 1e4  # more than any CT
LOW = 0.80  # Dice of a start that is worth a stroke
ALLOWED_LOSS = 0.005  # of Dice; more is a loss
CHOSEN_ON = ("crlm_1006", "hcc_006", "waw2144_eq")
UNSEEN = ("hcc_011", "hcc_009", "pancreas_cb_001")  # by `light-0.3.0`; of other patients than those of CHOSEN_ON
HUMAN = ("cort_liver",)
TEACHING_STEPS = 40


Key = tuple[str, str, str, str, bool, float]
"""Model, CT, organ, arm, whether the organ was cut, and what share of a stroke was drawn."""
ARMS: dict[str, Callable[[Scene], Corrector]] = {
    "refine": refining, "pasted": pasted, "watershed": from_markers(watershed),
    "random_walker": from_markers(random_walker)}
FINETUNE = "finetune"


def run_organ(ct_scene: Scene, organ: int, arm: Callable[[Scene], Corrector], margin_mm: float,
              drawing: argparse.Namespace) -> dict[str, Any]:
    """The figures of one organ: `dice` and `hd95` by number of strokes. The arm sees `margin_mm` around the organ.

    `drawing`: how many `strokes`, their `share` and the `seed`.
    """
    scene = ct_scene.around(organ, margin_mm)
    user, correct = User(scene, organ, drawing.seed, drawing.share), arm(scene)
    labels, seconds, satisfied = scene.start, [], False
    figures: dict[str, Any] = {"case": scene.name, "organ": WORD16.names[organ - 1], "dice": {}, "hd95": {}}
    for number in range(drawing.strokes + 1):
        if number > 0 and not satisfied:
            stroke = user.next_stroke(labels)
            satisfied = stroke is None
            if stroke is not None:
                # The simulated user's own time is not counted.
                since = time.perf_counter()
                labels = correct(stroke)
                seconds.append(time.perf_counter() - since)
        if number in AFTER:
            predicted, reference = scene.masks(labels, organ)
            figures["dice"][number] = dice(predicted, reference)
            figures["hd95"][number] = hd95(predicted, reference, scene.spacing)
    losses = [0.0]
    for neighbour in scene.organs:
        changed = ((labels == neighbour) != (scene.start == neighbour)).any()
        if neighbour != organ and changed and (ct_scene.reference == neighbour).any():
            losses.append(loss_of(neighbour, ct_scene, scene, labels))
    return figures | {"seconds": [round(value, 3) for value in seconds], "worst_other": min(losses)}


def loss_of(organ: int, ct_scene: Scene, part: Scene, labels: np.ndarray) -> float:
    """How much Dice an organ of the whole CT gains where the labels of a part of it become `labels`."""
    reference = int((ct_scene.reference == organ).sum())
    started = ct_scene.masks(ct_scene.start, organ)[0]
    before, right = int(started.sum()), int((started & (ct_scene.reference == organ)).sum())
    old, new = (part.masks(some, organ)[0] for some in (part.start, labels))
    true = part.reference == organ
    after = before + int(new.sum()) - int(old.sum())
    right_after = right + int((new & true).sum()) - int((old & true).sum())
    return 2 * right_after / max(after + reference, 1) - 2 * right / max(before + reference, 1)


def hd95(predicted: np.ndarray, reference: np.ndarray, spacing: tuple[float, float, float]) -> float | None:
    """None where one of the masks is empty. In the box that holds both, as distances are not shorter outside of it."""
    if not predicted.any() or not reference.any():
        return None
    box = padded_box(box_of(predicted | reference), 5.0, spacing, reference.shape)
    return surface_distances(predicted[box], reference[box], spacing).hd95


def group_of(result: dict[str, Any]) -> str:
    """What a CT is to the settings and to the start model, whether organs were cut, and strokes shortened."""
    suffix = (", cut" if result.get("cut") else "") + (", short" if result.get("share", 1) < 1 else "")
    for name, cases in (("human", HUMAN), ("chosen on", CHOSEN_ON), ("unseen", UNSEEN)):
        if result["case"] in cases:
            return name + suffix
    return "trained on" + suffix


def rows_of(results: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A start model, a group of CTs, weak or not, and an arm a row: means over organs."""
    groups: dict[tuple[str, str, bool, str], list[dict[str, Any]]] = {}
    for result in results:
        key = (result["model"], group_of(result), result["dice"]["0"] < LOW, result["arm"])
        groups.setdefault(key, []).append(result)
    for (model, cts, weak, arm), members in groups.items():
        yield {"model": model, "cts": cts, "ct_count": len({member["case"] for member in members}), "weak": weak,
               "arm": arm, "organs": len(members), **means(members)}


def means(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of the figures of one arm and group, after as many strokes as all of them had. HD95 is the mean over organs that
    are there from the first to the last."""
    after = [str(number) for number in AFTER if all(str(number) in result["dice"] for result in results)]
    present = [result for result in results if all(result["hd95"][number] is not None for number in after)]
    losses = []
    for result in results:
        loss = min(result["dice"][number] for number in after) - result["dice"]["0"]
        losses.append((loss, f"{result['case']}, {result['organ']}"))
    figures: dict[str, Any] = {"dice": {}, "hd95_mm": {}}
    for number in after:
        figures["dice"][number] = round(float(np.mean([result["dice"][number] for result in results])), 4)
        if present:
            figures["hd95_mm"][number] = round(float(np.mean([result["hd95"][number] for result in present])), 2)
    worst, worst_organ = min(losses)
    figures |= {"worst": round(worst, 4), "worst_organ": worst_organ,
                "lost": sum(loss < -ALLOWED_LOSS for loss, _ in losses),
                "worst_other": round(min(result["worst_other"] for result in results), 4)}
    first = [result["seconds"][0] for result in results if result["seconds"]]
    later = [value for result in results for value in result["seconds"][1:]]
    for name, values in (("seconds_first", first), ("seconds_later", later)):
        figures[name] = None
        if values:
            figures[name] = round(float(np.median(values)), 2)
    return figures


def main() -> None:
    """Runs what is asked for and is not there yet, then prints the table."""
    parser = arguments_of(__doc__)
    parser.add_argument("--organs", nargs="+", default=[], help="default: all that can be compared")
    parser.add_argument("--arms", nargs="+", choices=(*ARMS, FINETUNE), default=list(ARMS))
    parser.add_argument("--strokes", type=int, default=10)
    parser.add_argument("--cut", action="store_true", help="take a part of each organ away from the start labels")
    parser.add_argument("--share", type=float, default=1.0, help="of each stroke's length that is drawn, its middle")
    arguments = parser.parse_args()
    record = arguments.output / "results.jsonl"
    if arguments.table is not None:
        write_tables(longest(read_rows(record)), arguments.table)
        return
    until = time.monotonic() + 60 * arguments.minutes
    segmenter = Segmenter(SegmentOptions(model=arguments.model))
    model = segmenter.bundle.name
    cases = cases_of(arguments.manifest)
    organs = WORD16.indices(arguments.organs or WORD16.names)
    finished = {key_of(row): last_count(row) for row in longest(read_rows(record))}
    for name in arguments.cases or list(cases):
        scene = load_scene(cases[name], segmenter, arguments.output / "starts" / model)
        for organ in organs_of(scene, organs, arguments.cut):
            begun = scene.without_part(organ) if arguments.cut else scene
            for arm in arguments.arms:
                row = {"model": model, "case": name, "organ": WORD16.names[organ - 1], "arm": arm,
                       "cut": arguments.cut, "share": arguments.share}
                # One that was run with fewer strokes is run anew.
                if finished.get(key_of(row), -1) >= counted_last(arguments.strokes):
                    continue
                if time.monotonic() > until:
                    print("time is over", flush=True)
                    return
                append_rows(record, [row | run_arm(begun, organ, arm, arguments)])
        print(f"{name} done", flush=True)
    for row in rows_of(longest(read_rows(record))):
        print(row)


def organs_of(scene: Scene, wanted: Sequence[int], cut: bool) -> list[int]:
    """Those of a CT that are wanted; for a cut, those that there is enough of."""
    return [organ for organ in scene.organs
            if organ in wanted and (not cut or int((scene.start == organ).sum()) >= LEAST_VOXELS)]


def run_arm(scene: Scene, organ: int, arm: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """`run_organ` with the arm of that name."""
    if arm != FINETUNE:
        return run_organ(scene, organ, ARMS[arm], AROUND_MM, arguments)
    # A network sees a whole CT otherwise than a part of it. The manifest lies in a folder of its own: whole paths.
    with tempfile.TemporaryDirectory(dir=arguments.output.resolve()) as folder:
        teach = finetuned(arguments.model, TEACHING_STEPS, Path(folder))
        return run_organ(scene, organ, teach, WHOLE_MM, arguments)


def counted_last(strokes: int) -> int:
    """The last number of strokes after which figures are taken, of a run of so many."""
    return max(number for number in AFTER if number <= strokes)


def last_count(row: dict[str, Any]) -> int:
    """The last number of strokes after which a row has figures."""
    return max(int(number) for number in row["dice"])


def key_of(row: dict[str, Any]) -> Key:
    """What a row is about. Rows of before 2026-11-30 say nothing of cuts or shares, for there were none."""
    return row["model"], row["case"], row["organ"], row["arm"], row.get("cut", False), row.get("share", 1.0)


def longest(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of several rows about the same the one with the most strokes, the later one of two."""
    chosen: dict[Key, dict[str, Any]] = {}
    for row in rows:
        before = chosen.get(key_of(row))
        if before is None or last_count(row) >= last_count(before):
            chosen[key_of(row)] = row
    return list(chosen.values())


def write_tables(results: Sequence[dict[str, Any]], table: Path) -> None:
    """The means into `table`, and beside it, with `_organs` in its name, the organs whose reference is human or that a
    fine-tuning was tried on."""
    write_table(table, list(rows_of([row for row in results if row["arm"] != FINETUNE])))
    taught = {(row["model"], row["case"], row["organ"]) for row in results if row["arm"] == FINETUNE}
    organs = []
    for result in (row for row in results if not row.get("cut") and row.get("share", 1) == 1):
        if group_of(result) == "human" or (result["model"], result["case"], result["organ"]) in taught:
            dice_after = {number: round(value, 4) for number, value in result["dice"].items()}
            organs.append({key: result[key] for key in ("model", "case", "organ", "arm", "seconds")}
                          | {"cts": group_of(result), "dice": dice_after})
    write_table(table.with_stem(f"{table.stem}_organs"), organs)


if __name__ == "__main__":
    main()
