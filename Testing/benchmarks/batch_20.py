"""Twenty CTs in one run of `partialorganseg segment` against twenty runs of one CT each.

    python Testing/benchmarks/batch_20.py ../shared/data/ct/crlm_1004/image.nii.gz \\
        --json Resources/figures/speed_batch.json

The CTs are copies of one, or with `--slices N` of N of its slices. A repeat is one run over `--count` CTs, and
`--singles` runs of one CT, whose mean counts `--count` times. The run chooses how many CTs it segments at a time; with
`--workers 1` there is also a run of one after the other, and with `--shards 2` two processes that share the list
(`segment --shard 1/2` and `2/2`). The aim is .6.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from PartialOrganSegLib.formats.reading import read_ct
from PartialOrganSegLib.formats.writing import write_ct
from PartialOrganSegLib.imaging.volume import Volume
from Testing.helpers.figure_rows import Row, keep_rows
from Testing.helpers.process_cost import Cost, cost_of

AIM = 0.6
SEGMENT = [sys.executable, "-m", "PartialOrganSegLib", "segment"]


def write_copies(ct: Path, slices: int, count: int, folder: Path) -> None:
    """So many CTs in a folder that is made; `slices` of the middle, or all where that is 0."""
    folder.mkdir()
    volume = read_ct(ct)
    if slices:
        canonical = volume.canonical()
        first = max(0, (len(canonical.array) - slices) // 2)
        array = np.ascontiguousarray(canonical.array[first:first + slices])
        grid = canonical.grid
        depth = len(array)
        place = grid.matrix @ [0, 0, first, 1]
        x, y, z = place[:3].tolist()
        volume = Volume(array, type(grid)((grid.size[0], grid.size[1], depth), grid.spacing, (x, y, z),
                                          grid.direction))
    for number in range(count):
        write_ct(folder / f"ct{number:02d}.nii.gz", volume)


def sharded(folder: Path, output: Path, shards: int, options: list[str]) -> float:
    """Seconds of so many processes that share a folder of CTs."""
    start = time.perf_counter()
    processes = [subprocess.Popen([*SEGMENT, str(folder), "-o", str(output), "--shard", f"{number}/{shards}", *options],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                 for number in range(1, shards + 1)]
    if any(process.wait() for process in processes):
        raise SystemExit("a shard failed")
    return time.perf_counter() - start


def cost_of_all(command: list[str], log: Path) -> Cost:
    """As `cost_of`, with the memory of all processes of the command at a moment; what they share counts for each."""
    finished, peak = threading.Event(), 0

    def watch() -> None:
        nonlocal peak
        while not finished.wait(0.05):
            held = 0
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):  # of one that has just ended
                    held += process.memory_info().rss
            peak = max(peak, held)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        cost = cost_of(command, log)
    finally:
        finished.set()
        watching.join()
    return cost._replace(mib=max(cost.mib, peak / (1 << 20)))


@dataclass
class Measured:
    """Costs of the runs over all CTs, of single runs (their mean) and of runs with `--workers`, and seconds of the runs
    in shards: one a repeat."""

    together: list[Cost] = field(default_factory=list)
    alone: list[Cost] = field(default_factory=list)
    with_workers: list[Cost] = field(default_factory=list)
    in_shards: list[float] = field(default_factory=list)
    at_a_time: int = 1  # CTs that the run chose to segment at a time


def measure(arguments: argparse.Namespace, scratch: Path, folder: Path) -> Measured:
    """All runs of all repeats."""
    options = ["--device", "cpu", "--model", arguments.model]
    cts = sorted(folder.iterdir())
    measured = Measured()
    for repeat in range(arguments.repeats):
        output = scratch / f"out{repeat}"
        measured.together.append(cost_of_all([*SEGMENT, str(folder), "-o", str(output), *options], scratch / "log"))
        told = re.search(r"^(\d+) CTs at a time", (scratch / "log").read_text(), re.MULTILINE)
        if told:
            measured.at_a_time = int(told[1])
        costs = []
        for number, ct in enumerate(cts[:arguments.singles]):
            costs.append(cost_of([*SEGMENT, str(ct), "-o", str(scratch / f"one{repeat}_{number}"), *options],
                                 scratch / "log"))
        measured.alone.append(Cost(*np.mean(costs, axis=0).tolist()))
        if arguments.workers:
            words = [*SEGMENT, str(folder), "-o", str(scratch / f"workers{repeat}"), "--workers",
                     str(arguments.workers), *options]
            measured.with_workers.append(cost_of_all(words, scratch / "log"))
        if arguments.shards > 1:
            measured.in_shards.append(sharded(folder, scratch / f"shards{repeat}", arguments.shards, options))
    return measured


def main() -> None:
    """Prints and keeps the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct", type=Path)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--slices", type=int, default=0, help="slices of a CT (default: all)")
    parser.add_argument("--count", type=int, default=20, help="CTs (default: 20)")
    parser.add_argument("--singles", type=int, default=3, help="single runs of a repeat (default: 3)")
    parser.add_argument("--workers", type=int, help="also a run with so many at a time")
    parser.add_argument("--shards", type=int, default=1, help="also so many processes that share the CTs")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--busy", action="store_true", help="other programs ran meanwhile")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to keep the table as well")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        write_copies(arguments.ct, arguments.slices, arguments.count, scratch / "cts")
        measured = measure(arguments, scratch, scratch / "cts")
    together, alone = np.array(measured.together), np.array(measured.alone)
    ratios = together[:, :2] / (arguments.count * alone[:, :2])
    row: Row = {"ct": arguments.ct.parent.name, "slices": arguments.slices, "count": arguments.count,
                "date": datetime.date.today().isoformat(), "repeats": arguments.repeats, "busy": arguments.busy,
                "at_a_time": measured.at_a_time, "seconds": round(float(np.median(together[:, 0])), 1),
                "single_s": round(float(np.median(alone[:, 0])), 2),
                "time_ratios": np.round(ratios[:, 0], 3).tolist(), "cpu_ratios": np.round(ratios[:, 1], 3).tolist(),
                "time_ratio": round(float(np.median(ratios[:, 0])), 3),
                "cpu_ratio": round(float(np.median(ratios[:, 1])), 3), "aim": AIM,
                "mib": round(float(np.median(together[:, 2]))), "single_mib": round(float(np.median(alone[:, 2])))}
    if measured.with_workers:
        worker_ratios = np.array(measured.with_workers)[:, 0] / (arguments.count * alone[:, 0])
        row |= {"workers": arguments.workers, "workers_ratio": round(float(np.median(worker_ratios)), 3)}
    if measured.in_shards:
        shard_ratios = np.array(measured.in_shards) / (arguments.count * alone[:, 0])
        row |= {"shards": arguments.shards, "shards_ratio": round(float(np.median(shard_ratios)), 3)}
    print(row)
    if arguments.json:
        keep_rows(arguments.json, [row], ("ct", "slices", "count"))


if __name__ == "__main__":
    main()
