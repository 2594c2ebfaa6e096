"""Time of a prediction beside busy neighbours: 0, 1, 2 and 4 processes that do nothing but compute.

    python Testing/benchmarks/neighbours.py ../shared/data/ct/crlm_1006/image.nii.gz \\
        --json Resources/figures/speed_neighbours.json

With n neighbours on c cores a program gets a share of 1 / (1 + n / c) of them; 1.3 times that long is the aim. Every
repeat goes through all numbers of neighbours, and each is compared with none of the same repeat. The model is loaded
and has predicted once before.
"""

from __future__ import annotations

import argparse
import datetime
import time
from pathlib import Path

import numpy as np

from PartialOrganSegLib.formats.reading import read_ct
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.segmenting.cores import usable_cores
from PartialOrganSegLib.segmenting.predictor import Predictor
from Testing.helpers.busy_neighbours import busy_neighbours
from Testing.helpers.figure_rows import keep_rows

NEIGHBOURS = (0, 1, 2, 4)
AIM = 1.3
# So long a neighbour runs before the clock starts: the number of threads is chosen from the load that is seen.
SETTLED_S = 1.0


def seconds_beside(neighbours: int, predictor: Predictor, ct: Path) -> float:
    """Wall time of one prediction beside so many busy processes."""
    volume = read_ct(ct)
    with busy_neighbours(neighbours):
        time.sleep(SETTLED_S)
        start = time.perf_counter()
        predictor.predict(volume)
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("ct", type=Path)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to keep the table as well")
    arguments = parser.parse_args()
    predictor, cores = Predictor(load_bundle(arguments.model), device="cpu"), usable_cores()
    predictor.predict(read_ct(arguments.ct))
    seconds = [[seconds_beside(count, predictor, arguments.ct) for count in NEIGHBOURS]
               for _ in range(arguments.repeats)]
    ratios = np.array(seconds) / np.array(seconds)[:, :1]
    rows = []
    for column, count in enumerate(NEIGHBOURS):
        row = {"model": f"{predictor.bundle.name} {predictor.bundle.metadata.version}", "neighbours": count,
               "cores": cores, "date": datetime.date.today().isoformat(), "repeats": arguments.repeats,
               "ct": arguments.ct.parent.name, "seconds": round(float(np.median(np.array(seconds)[:, column])), 1),
               "ratios": np.round(ratios[:, column], 2).tolist(),
               "ratio": round(float(np.median(ratios[:, column])), 2), "aim": round((1 + count / cores) * AIM, 2)}
        rows.append(row)
        print(f"{count} neighbours: {row['seconds']} s, {row['ratio']} times ({row['ratios']}), aim {row['aim']}")
    if arguments.json:
        keep_rows(arguments.json, rows, ("model", "neighbours"))


if __name__ == "__main__":
    main()
