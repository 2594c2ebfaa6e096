"""Times the phantom and the synthesis: `python Testing/benchmarks/phantom.py`."""

import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PartialOrganSegLib.synthesis.phantom import make_phantom
from PartialOrganSegLib.synthesis.synthetic_ct import synthesise_ct


def main() -> None:
    """Prints seconds of one phantom per grid, and of painting its labels anew."""
    print(f"{'grid (z, y, x)':>18} {'spacing mm':>16} {'phantom s':>10} {'synthesis s':>12}")
    for shape, spacing in (((128, 128, 128), (3.0, 3.0, 3.0)), ((100, 160, 200), (3.0, 2.0, 2.0)),
                           ((200, 256, 256), (2.0, 1.5, 1.5))):
        # One run each: the times are seconds, and differ by per cents.
        start = time.perf_counter()
        _, labels = make_phantom(shape, spacing, seed=0)
        drawn = time.perf_counter()
        synthesise_ct(labels, np.random.default_rng(0))
        print(f"{shape!s:>18} {spacing!s:>16} {drawn - start:10.2f} {time.perf_counter() - drawn:12.2f}")


if __name__ == "__main__":
    main()
