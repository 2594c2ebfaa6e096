"""What damaged and hostile inputs end in: mutants of every format, read one by one, in a table.

    python Testing/benchmarks/faults.py --mutants 120 --seed 1 --json Resources/figures/faults.json

All columns after "accepted rightly" should be zero; each mutant that falls into one is listed below the table with the
number that makes it again. "Accepted wrongly" is what was read without a warning and otherwise than ITK reads it
(NIfTI, NRRD, MetaImage) or pydicom does (DICOM).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from Testing.helpers.fault_seeds import SEEDS
from Testing.helpers.faults import BAD, OUTCOMES, sound_result, verdict_of
from Testing.helpers.figure_rows import keep_rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=120, help="of each format (default: 120)")
    parser.add_argument("--seed", type=int, default=0, help="other mutants (default: 0)")
    parser.add_argument("--formats", default="", help="only these, separated by commas")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to keep the table as well")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # pydicom's comments on damaged headers
    names = [name for name in arguments.formats.split(",") if name]
    seeds = [seed for seed in SEEDS if not names or seed.name in names]
    total: Counter[str] = Counter()
    listed, rows = [], []
    print(f"{'format':<20}{'mutants':>8}", *(f"{outcome:>17}" for outcome in OUTCOMES), f"{'slowest s':>10}", sep="")
    for seed in seeds:
        counts: Counter[str] = Counter()
        slowest = 0.0
        with tempfile.TemporaryDirectory() as folder:
            sound = Path(folder) / "sound"
            sound.mkdir()
            original = sound_result(seed, sound)
            for number in range(arguments.mutants):
                # A folder for each: what a mutant leaves behind must not help the next.
                place = Path(folder) / str(number)
                place.mkdir()
                verdict = verdict_of(seed, place, arguments.seed * 1_000_000 + number, original)
                counts[verdict.outcome] += 1
                slowest = max(slowest, verdict.seconds)
                if verdict.outcome in BAD:
                    listed.append(f"{seed.name} {arguments.seed * 1_000_000 + number}: {verdict.outcome}: "
                                  f"{verdict.text.strip()[-400:]}")
        total += counts
        rows.append({"seed": arguments.seed, "format": seed.name, "mutants": arguments.mutants}
                    | {outcome: counts[outcome] for outcome in OUTCOMES} | {"slowest_s": round(slowest, 1)})
        print(f"{seed.name:<20}{arguments.mutants:>8}", *(f"{counts[outcome]:>17}" for outcome in OUTCOMES),
              f"{slowest:>10.1f}", sep="", flush=True)
    print(f"{'all':<20}{sum(total.values()):>8}", *(f"{total[outcome]:>17}" for outcome in OUTCOMES), sep="")
    print(*listed, sep="\n")
    if arguments.json:
        keep_rows(arguments.json, rows, ("seed", "format"))
    return int(bool(listed))


if __name__ == "__main__":
    sys.exit(main())
