"""Strokes that correct one CT, against simpler ways to use the same strokes, drawn by a simulated user.

    python Testing/benchmarks/refine.py -o output/refine --model light-0.3.0 --cases crlm_1006 hcc_006 waw2144_eq
    python Testing/benchmarks/refine.py -o output/refine --table Resources/figures/refine.json

For every CT and every organ that its label can be compared with, the user looks for the largest error of that organ
(the largest connected part deeper than a rim of 1.5 mm), draws a stroke of 3 mm through its middle on the axial slice
where it is largest, and says what is there: the organ where it is missing, and where it is too much the reference's
label, mostly background. He sees the answer before the next stroke. Every organ begins at the model's labels anew.

Arms: `refine` (the library's session), `pasted` (nothing but the drawn voxels changes), `watershed` (SimpleITK's, on
the CT's gradient) and `random_walker` (scikit-image's), which grow the strokes and the cores of all start labels into
what lies between; a start label's core counts only farther than 25 mm from a stroke that contradicts it.

The CTs are those of ../shared/data/manifest.yaml, whose labels are mostly the network hk13's. The embedded model
asks that network itself, so the start is another's: `light-0.3.0`, a part of the embedded model 0.4.0. Settings were
chosen on crlm_1006, hcc_006 and waw2144_eq alone. Figures: Dice of the organ and HD95 (mm) before and after 1, 3, 5, 10
strokes, the largest loss of another organ, and seconds a stroke. Start labels are kept in OUT/starts, results in
OUT/results.jsonl, a line an organ and arm, so that a run goes on where it was ended.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.evaluation.metrics import dice
from PartialOrganSegLib.imaging.surface import surface_distances
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.refining.propagation import NOT_DRAWN
from PartialOrganSegLib.refining.regions import box_of, padded_box
from PartialOrganSegLib.refining.session import RefineSession
from PartialOrganSegLib.segmenting.options import SegmentOptions
from PartialOrganSegLib.segmenting.segmenter import Segmenter
from Testing.helpers.stroke_rivals import Corrector, from_markers, pasted, random_walker, watershed
from Testing.helpers.stroke_user import Drawn, Scene, User, load_scene

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
AFTER = (0, 1, 3, 5, 10)
AROUND_MM = 80.0  # more than a correction reaches
LOW = 0.80  # Dice of a start that is worth a stroke
CHOSEN_ON = ("crlm_1006", "hcc_006", "waw2144_eq")


def refine(scene: Scene) -> Corrector:
    """The library's session."""
    session = RefineSession(scene.ct, Volume(scene.start, scene.ct.grid), WORD16)

    def correct(stroke: Drawn) -> np.ndarray:
        drawn = np.full(scene.start.shape, NOT_DRAWN, np.uint8)
        drawn[stroke.voxels] = stroke.value
        return session.add(Volume(drawn, scene.ct.grid)).labels.array

    return correct


ARMS: dict[str, Callable[[Scene], Corrector]] = {
    "refine": refine, "pasted": pasted, "watershed": from_markers(watershed),
    "random_walker": from_markers(random_walker)}


def run_organ(whole: Scene, organ: int, arm: str, strokes: int, seed: int) -> dict[str, Any]:
    """The figures of one organ: `dice` and `hd95` by number of strokes."""
    scene = whole.around(organ, AROUND_MM)
    user, correct = User(scene, organ, seed), ARMS[arm](scene)
    labels, seconds, satisfied = scene.start, [], False
    figures: dict[str, Any] = {"case": scene.name, "organ": WORD16.names[organ - 1], "arm": arm, "dice": {}, "hd95": {}}
    for number in range(strokes + 1):
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
        if neighbour != organ and changed and (whole.reference == neighbour).any():
            losses.append(loss_of(neighbour, whole, scene, labels))
    return figures | {"seconds": [round(value, 3) for value in seconds], "worst_other": min(losses)}


def loss_of(organ: int, whole: Scene, part: Scene, labels: np.ndarray) -> float:
    """How much Dice an organ of the whole CT gains where the labels of a part of it become `labels`."""
    reference = int((whole.reference == organ).sum())
    before, right = (int(mask.sum()) for mask in (whole.masks(whole.start, organ)[0],
                                                  whole.masks(whole.start, organ)[0] & (whole.reference == organ)))
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


def rows_of(results: Sequence[dict[str, Any]], human: bool) -> Iterator[dict[str, Any]]:
    """An arm and a group of organs a row: means over organs of all CTs of a group."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        group = "others"
        if human:
            group = "human"
        elif result["case"] in CHOSEN_ON:
            group = "chosen on"
        groups.setdefault(group, []).append(result)
    for cts, members in groups.items():
        for weak in (True, False):
            for arm in dict.fromkeys(result["arm"] for result in members):
                chosen = [result for result in members
                          if result["arm"] == arm and (result["dice"]["0"] < LOW) == weak]
                if chosen:
                    yield {"cts": cts, "ct_count": len({result["case"] for result in chosen}), "weak": weak, "arm": arm,
                           "organs": len(chosen), **means(chosen)}


def means(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of the figures of one arm and group. HD95 is the mean over organs that are there from the first to the last."""
    after = [str(number) for number in AFTER if str(number) in results[0]["dice"]]
    present = [result for result in results if None not in result["hd95"].values()]
    losses = [min(result["dice"].values()) - result["dice"]["0"] for result in results]
    first = [result["seconds"][0] for result in results if result["seconds"]]
    later = [value for result in results for value in result["seconds"][1:]]
    return {"dice": {number: round(float(np.mean([result["dice"][number] for result in results])), 4)
                     for number in after},
            "hd95_mm": {number: round(float(np.mean([result["hd95"][number] for result in present])), 2)
                        for number in after if present},
            "worst_own": round(min(losses), 4), "worst_other": round(min(r["worst_other"] for r in results), 4),
            "seconds_first": round(float(np.median(first)), 2) if first else None,
            "seconds_later": round(float(np.median(later)), 2) if later else None}


def main() -> None:
    """Runs what is asked for and is not there yet, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, default=DATA / "manifest.yaml")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--cases", nargs="*", default=[], help="default: all of the manifest")
    parser.add_argument("--organs", nargs="+", default=[], help="default: all that can be compared")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--strokes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no organ after these")
    parser.add_argument("--table", type=Path, help="write the means of what is there as JSON; nothing is run")
    arguments = parser.parse_args()
    record = arguments.output / "results.jsonl"
    if arguments.table is not None:
        human = "test" in arguments.manifest.stem
        rows = list(rows_of(read_results(record), human))
        arguments.table.write_text(json.dumps(rows, indent=1) + "\n")
        return
    until = time.monotonic() + 60 * arguments.minutes
    segmenter = Segmenter(SegmentOptions(model=arguments.model))
    cases = {case.image.parent.name: case for case in load_manifest(arguments.manifest).cases}
    organs = WORD16.indices(arguments.organs or WORD16.names)
    arguments.output.mkdir(parents=True, exist_ok=True)
    done = {(result["case"], result["organ"], result["arm"]) for result in read_results(record)}
    for name in arguments.cases or list(cases):
        scene = load_scene(cases[name], segmenter, arguments.output / "starts")
        for organ in scene.organs:
            for arm in arguments.arms:
                if organ not in organs or (name, WORD16.names[organ - 1], arm) in done:
                    continue
                if time.monotonic() > until:
                    print("time is over", flush=True)
                    return
                result = run_organ(scene, organ, arm, arguments.strokes, arguments.seed)
                with open(record, "a") as stream:
                    stream.write(json.dumps(result) + "\n")
        print(f"{name} done", flush=True)
    for row in rows_of(read_results(record), "test" in arguments.manifest.stem):
        print(row)


def read_results(record: Path) -> list[dict[str, Any]]:
    """The lines that are there."""
    if not record.exists():
        return []
    return [json.loads(line) for line in record.read_text().splitlines()]


if __name__ == "__main__":
    main()
