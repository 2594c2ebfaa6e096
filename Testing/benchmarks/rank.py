"""Whether `rank` says where a stroke is worth most: strokes where it says so, against strokes anywhere.

    python Testing/benchmarks/rank.py -o output/rank --model light-0.3.0
    python Testing/benchmarks/rank.py -o output/rank --table Resources/figures/refine_rank.json

Every organ that a CT's label can be compared with gets one stroke of the simulated user (see `refine.py` here) on the
slice that the ranking names, and one on each of four slices drawn at random among those where the model has the organ;
each begins at the model's labels.
The gain is the organ's Dice after `RefineSession.add` less that before; a slice without an error has no
stroke and no gain. What is drawn first by the ranking is compared with the mean over all organs, which is what choosing
at random comes to. The rule for the slice was chosen on the CTs of `CHOSEN_ON`, so `--table` leaves these out.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PartialOrganSegLib.evaluation.metrics import dice
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.refining.ranking import rank_organs
from PartialOrganSegLib.segmenting.options import SegmentOptions
from PartialOrganSegLib.segmenting.segmenter import Segmenter
from Testing.helpers.stroke_benchmark import append_rows, arguments_of, cases_of, read_rows, refining, write_table
from Testing.helpers.stroke_user import Scene, User, load_scene

FIRST = (5, 10, 20)  # of the ranking
RANDOM_SLICES = 4  # their mean is what a random slice is worth
AROUND_MM = 80.0  # more than a correction reaches
CHOSEN_ON = ("waw2144_eq", "waw2144_pv", "crlm_1004", "hcc_006")


def gain(scene: Scene, organ: int, number: int, seed: int) -> float:
    """Dice that one stroke on a slice gives."""
    stroke = User(scene, organ, seed).next_stroke(scene.start, number)
    if stroke is None:
        return 0.0
    labels = refining(scene)(stroke)
    before, after = (dice(*scene.masks(some, organ)) or 0.0 for some in (scene.start, labels))
    return after - before


def run_case(scene: Scene, segmenter: Segmenter, image: Path, seed: int) -> list[dict[str, Any]]:
    """A row an organ."""
    generator = np.random.default_rng(seed)
    rows = []
    for worth in rank_organs(segmenter(image), scene.name):
        organ = WORD16.index(worth.organ)
        present = np.flatnonzero((scene.start == organ).any(axis=(1, 2)))
        if organ not in scene.organs or not len(present):
            continue
        part = scene.around(organ, AROUND_MM)
        # Slices of the part are counted from its own lowest one.
        lowest = int(present[0] - np.flatnonzero((part.start == organ).any(axis=(1, 2)))[0])
        chosen = generator.choice(present, min(RANDOM_SLICES, len(present)), replace=False)
        random_gains = [gain(part, organ, int(number) - lowest, seed) for number in chosen]
        rows.append({"case": scene.name, "organ": worth.organ, "worth": worth.worth,
                     "start": dice(*scene.masks(scene.start, organ)) or 0.0,
                     "gain_ranked_slice": gain(part, organ, worth.slice - lowest, seed),
                     "gain_random_slice": float(np.mean(random_gains)), "gains_random": random_gains})
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean gains of the first organs of the ranking and of all, and how the ranking goes with the start's Dice."""
    from scipy.stats import spearmanr

    ranked = sorted(rows, key=lambda row: -row["worth"])
    figures: dict[str, Any] = {
        "organs": len(rows), "cts": len({row["case"] for row in rows}), "cases": sorted({row["case"] for row in rows}),
        "spearman_worth_error": round(float(spearmanr([row["worth"] for row in rows],
                                                      [1 - row["start"] for row in rows])[0]), 3)}
    for count in (*FIRST, len(rows)):
        chosen = ranked[:count]
        name = "all" if count == len(rows) else f"first_{count}"
        figures[name] = {"start": round(float(np.mean([row["start"] for row in chosen])), 3)}
        for key in ("gain_ranked_slice", "gain_random_slice"):
            figures[name][key] = round(float(np.mean([row[key] for row in chosen])), 4)
        differences = [row["gain_ranked_slice"] - row["gain_random_slice"] for row in chosen]
        # Twice the standard error of the mean, over organs.
        figures[name]["noise"] = round(float(2 * np.std(differences, ddof=1) / np.sqrt(len(differences))), 4)
    return figures


def main() -> None:
    """Runs the CTs that are not there yet, then prints the summary."""
    arguments = arguments_of(__doc__).parse_args()
    record = arguments.output / "rank.jsonl"
    rows = read_rows(record)
    if arguments.table is not None:
        write_table(arguments.table, summary([row for row in rows if row["case"] not in CHOSEN_ON]))
        return
    until = time.monotonic() + 60 * arguments.minutes
    segmenter = Segmenter(SegmentOptions(model=arguments.model, force=True))
    cases = cases_of(arguments.manifest)
    finished = {row["case"] for row in rows}
    for name in arguments.cases or list(cases):
        if name in finished or time.monotonic() > until:
            continue
        scene = load_scene(cases[name], segmenter, arguments.output / "starts" / segmenter.bundle.name)
        new = run_case(scene, segmenter, cases[name].image, arguments.seed)
        append_rows(record, new)
        rows += new
        print(f"{name} done", flush=True)
    print(json.dumps(summary(rows), indent=1))


if __name__ == "__main__":
    main()
