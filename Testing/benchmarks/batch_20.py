"""Twenty CTs in one run of `partialorganseg segment` against twenty runs of one CT each.

    python Testing/benchmarks/batch_20.py ../shared/data/ct/crlm_1004/image.nii.gz \\
        --json Resources/figures/speed_batch.json

The CTs are copies of one, or with `--slices N` of N of its slices. A repeat is one run over `--count` CTs, and
`--singles` runs of one CT, whose mean counts `--count` times; with `--shards 2` also two processes that share the list
(`segment --shard 1/2` and `2/2`). The aim is .6.
"""

from __future__ import annotations

import argparse
import datetime
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

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


def measure(arguments: argparse.Namespace, scratch: Path, folder: Path) -> tuple[list[Cost], list[Cost], list[float]]:
    """Costs of the runs over all CTs and of single runs (their mean), and seconds of the runs in shards."""
    options = ["--device", "cpu", "--model", arguments.model]
    cts = sorted(folder.iterdir())
    together, alone, in_shards = [], [], []
    for repeat in range(arguments.repeats):
        output = scratch / f"out{repeat}"
        together.append(cost_of([*SEGMENT, str(folder), "-o", str(output), *options], scratch / "log"))
        costs = []
        for number, ct in enumerate(cts[:arguments.singles]):
            costs.append(cost_of([*SEGMENT, str(ct), "-o", str(scratch / f"one{repeat}_{number}"), *options],
                                 scratch / "log"))
        alone.append(Cost(*np.mean(costs, axis=0).tolist()))
        if arguments.shards > 1:
            in_shards.append(sharded(folder, scratch / f"shards{repeat}", arguments.shards, options))
    return together, alone, in_shards


def main() -> None:
    """Prints and keeps the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct", type=Path)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--slices", type=int, default=0, help="slices of a CT (default: all)")
    parser.add_argument("--count", type=int, default=20, help="CTs (default: 20)")
    parser.add_argument("--singles", type=int, default=3, help="single runs of a repeat (default: 3)")
    parser.add_argument("--shards", type=int, default=1, help="also so many processes that share the CTs")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--busy", action="store_true", help="other programs ran meanwhile")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to keep the table as well")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        write_copies(arguments.ct, arguments.slices, arguments.count, scratch / "cts")
        together, alone, in_shards = measure(arguments, scratch, scratch / "cts")
    ratios = np.array(together)[:, :2] / (arguments.count * np.array(alone)[:, :2])
    row: Row = {"ct": arguments.ct.parent.name, "slices": arguments.slices, "count": arguments.count,
                "date": datetime.date.today().isoformat(), "repeats": arguments.repeats, "busy": arguments.busy,
                "seconds": round(float(np.median(np.array(together)[:, 0])), 1),
                "single_s": round(float(np.median(np.array(alone)[:, 0])), 2),
                "time_ratios": np.round(ratios[:, 0], 3).tolist(), "cpu_ratios": np.round(ratios[:, 1], 3).tolist(),
                "time_ratio": round(float(np.median(ratios[:, 0])), 3),
                "cpu_ratio": round(float(np.median(ratios[:, 1])), 3), "aim": AIM,
                "mib": round(float(np.median(np.array(together)[:, 2]))),
                "single_mib": round(float(np.median(np.array(alone)[:, 2])))}
    if in_shards:
        shard_ratios = np.array(in_shards) / (arguments.count * np.array(alone)[:, 0])
        row |= {"shards": arguments.shards, "shards_ratio": round(float(np.median(shard_ratios)), 3)}
    print(row)
    if arguments.json:
        keep_rows(arguments.json, [row], ("ct", "slices", "count"))


if __name__ == "__main__":
    main()
