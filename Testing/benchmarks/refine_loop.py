"""Whether correcting CTs makes the model better on the next one: refine five, fine-tune, segment a sixth.

    python Testing/benchmarks/refine_loop.py -o output/loop --model light-0.3.0 --next pancreas_cb_001
    python Testing/benchmarks/refine_loop.py -o output/loop --table Resources/figures/refine_loop.json

In each of the five CTs the simulated user (see `refine.py` here) draws up to three strokes in every one of `ORGANS`
whose Dice is below .80 and accepts these organs as they are then. `finetune` learns them (kind `partial`: other organs
stay open) in some steps, without a verdict. Figures: Dice of every organ of the sixth CT before any stroke, by the
start model and by the taught one, and of the organs that were accepted before and after correction. References are
labels of the network hk13. Results go to OUT/loop.jsonl, a line a sixth CT; what was corrected and the fine-tuning's
run are kept in OUT, so that a run which is ended (by an interrupt, at best) goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PartialOrganSegLib.annotation import Kind
from PartialOrganSegLib.datasets.case import Case
from PartialOrganSegLib.evaluation.metrics import dice
from PartialOrganSegLib.finetuning.options import FinetuneOptions
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting.options import SegmentOptions
from PartialOrganSegLib.segmenting.segmenter import Segmenter
from Testing.helpers.stroke_benchmark import append_rows, arguments_of, cases_of, read_rows, refining, write_table
from Testing.helpers.stroke_teaching import case_entry, taught
from Testing.helpers.stroke_user import Scene, User, load_scene

ORGANS = ("gallbladder", "esophagus", "pancreas", "duodenum", "adrenal")  # the start model's weak ones
CORRECTED = ("hcc_011", "hcc_009", "pancreas_cb_001", "waw2144_pv", "hcc_006", "crlm_1006")
LOW, STROKES = 0.80, 3


def corrected(scene: Scene, seed: int) -> tuple[np.ndarray, dict[str, tuple[float, float]]]:
    """A label map of the organs that were corrected and accepted, and the Dice of each before and after."""
    correct = refining(scene)
    labels, figures = scene.start, {}
    for organ in WORD16.indices(ORGANS):
        if organ not in scene.organs:
            continue
        before = dice(*scene.masks(labels, organ)) or 0.0
        if before >= LOW:
            continue
        user = User(scene, organ, seed)
        for _ in range(STROKES):
            stroke = user.next_stroke(labels)
            if stroke is None:
                break
            labels = correct(stroke)
        figures[WORD16.names[organ - 1]] = (before, dice(*scene.masks(labels, organ)) or 0.0)
    accepted = np.isin(labels, WORD16.indices(tuple(figures)))
    return np.where(accepted, labels, 0).astype(np.uint8), figures


def entries_of(cases: dict[str, Case], names: tuple[str, ...], segmenter: Segmenter, out: Path, seed: int,
               record: dict[str, Any]) -> Iterator[dict[str, object]]:
    """Manifest entries of the corrected CTs; what was corrected goes into `record` and OUT."""
    for name in names:
        file = out / "corrected" / f"{name}.json"
        if not file.exists():
            scene = load_scene(cases[name], segmenter, out / "starts")
            label, figures = corrected(scene, seed)
            entry = case_entry(file.parent, scene, label, Kind.PARTIAL, list(figures))
            file.write_text(json.dumps({"entry": entry, "organs": figures}))
        content = json.loads(file.read_text())
        record[name] = content["organs"]
        yield content["entry"]


def run(cases: dict[str, Case], following: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The figures of one sixth CT."""
    segmenter = Segmenter(SegmentOptions(model=arguments.model, force=True))
    names = tuple(name for name in CORRECTED if name != following)[:5]
    organs: dict[str, Any] = {}
    entries = list(entries_of(cases, names, segmenter, arguments.output, arguments.seed, organs))
    options = FinetuneOptions(steps=arguments.steps, validate=["none"])
    bundle, steps = taught(arguments.model, entries, arguments.output / "runs" / following, options)
    scene = load_scene(cases[following], segmenter, arguments.output / "starts" / segmenter.bundle.name)
    after = Segmenter(SegmentOptions(model=bundle.folder, force=True))(scene.ct).labels.array
    figures = {}
    for organ in scene.organs:
        figures[WORD16.names[organ - 1]] = [dice(*scene.masks(labels, organ)) for labels in (scene.start, after)]
    return {"model": segmenter.bundle.name, "next": following, "corrected": organs, "dice": figures,
            "steps": steps, "seed": arguments.seed}


def main() -> None:
    """Runs the sixth CTs that are not there yet, then prints the lines."""
    parser = arguments_of(__doc__, with_cases=False)
    parser.add_argument("--next", nargs="+", choices=CORRECTED[:3], default=["pancreas_cb_001"])
    parser.add_argument("--steps", type=int, default=150, help="of fine-tuning")
    arguments = parser.parse_args()
    arguments.output = arguments.output.resolve()  # the manifest lies in a folder of its own
    record = arguments.output / "loop.jsonl"
    rows = read_rows(record)
    if arguments.table is not None:
        write_table(arguments.table, rows)
        return
    cases = cases_of(arguments.manifest)
    finished = {row["next"] for row in rows}
    for following in arguments.next:
        if following not in finished:
            row = run(cases, following, arguments)
            append_rows(record, [row])
            rows.append(row)
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
