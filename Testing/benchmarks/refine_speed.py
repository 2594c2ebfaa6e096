"""How long an answer to a stroke takes, and how much memory, on a CT of 512 x 512 x 100 voxels.

    python Testing/benchmarks/refine_speed.py --model light-0.3.0 --starts output/refine/starts/light-0.3.0 \
        --table Resources/figures/refine_speed.json

The CT is a real one (acrin_flt_001_b, 512 x 512 x 99) resampled to 100 slices. The simulated user (see `refine.py`
here) draws five strokes in each organ, beginning at the model's labels. A first answer is the first of a session, which
is begun with it; a further one any later. Beside the clock's seconds stand those of the processor, which other work on
the computer changes less. Memory: how much more than with CT and labels in memory the process held at its peak while it
answered (Linux alone says so).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting.options import SegmentOptions
from PartialOrganSegLib.segmenting.segmenter import Segmenter
from Testing.helpers.stroke_benchmark import MANIFEST, Corrector, cases_of, refining, write_table
from Testing.helpers.stroke_user import Scene, User, load_scene

CASE, SLICES, STROKES = "acrin_flt_001_b", 100, 5


def resampled(scene: Scene) -> Scene:
    """To `SLICES` slices: the CT linearly, labels by the nearest slice."""
    depth = len(scene.start)
    place = np.linspace(0, depth - 1, SLICES)
    hu = ndimage.zoom(scene.ct.array, (SLICES / depth, 1, 1), order=1, grid_mode=False)
    nearest = place.round().astype(int)
    x, y, z = scene.ct.grid.spacing
    grid = Grid((*scene.start.shape[:0:-1], SLICES), (x, y, z * (depth - 1) / (SLICES - 1)))
    start, reference, undecided = (array[nearest] for array in (scene.start, scene.reference, scene.undecided))
    return Scene(scene.name, Volume(hu, grid), start, reference, scene.organs, undecided)


def held_mib(field: str) -> float:
    """`VmRSS`, what the process holds, or `VmHWM`, the most since `forget_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"/proc/self/status has no {field}")


def forget_peak() -> None:
    """From here on `VmHWM` counts anew."""
    Path("/proc/self/clear_refs").write_text("5")


def answers(scene: Scene, organ: int) -> list[dict[str, float]]:
    """Seconds by the clock and of the processor of each stroke in one organ, and MiB."""
    rows: list[dict[str, float]] = []
    user, labels = User(scene, organ, 0), scene.start
    correct: Corrector | None = None
    for _ in range(STROKES):
        stroke = user.next_stroke(labels)
        if stroke is None:
            break
        before = held_mib("VmRSS")
        forget_peak()
        clock, processor = time.perf_counter(), time.process_time()
        if correct is None:
            correct = refining(scene)
        labels = correct(stroke)
        rows.append({"clock_s": time.perf_counter() - clock, "processor_s": time.process_time() - processor,
                     "mib": held_mib("VmHWM") - before})
    return rows


def figures(scene: Scene) -> dict[str, Any]:
    """The median and the largest of first and further answers."""
    first, further = [], []
    for organ in scene.organs:
        rows = answers(scene, organ)
        print(WORD16.names[organ - 1], [{key: round(value, 2) for key, value in row.items()} for row in rows])
        first += rows[:1]
        further += rows[1:]
    result: dict[str, Any] = {"size": list(scene.start.shape[::-1]), "mm": [round(mm, 2) for mm in
                              scene.ct.grid.spacing], "cores": len(os.sched_getaffinity(0)),
                              "machine": platform.machine(), "mib": round(max(r["mib"] for r in first + further))}
    for name, rows in (("first", first), ("further", further)):
        result[name] = {"count": len(rows)}
        for key in ("clock_s", "processor_s"):
            values = [row[key] for row in rows]
            result[name][key] = {"median": round(float(np.median(values)), 2), "most": round(max(values), 2)}
    return result


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--starts", type=Path, required=True, help="folder of start labels; they are made if absent")
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    segmenter = Segmenter(SegmentOptions(model=arguments.model))
    result = figures(resampled(load_scene(cases_of(MANIFEST)[CASE], segmenter, arguments.starts)))
    print(json.dumps(result, indent=1))
    if arguments.table is not None:
        write_table(arguments.table, result)


if __name__ == "__main__":
    main()
