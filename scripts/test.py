"""Set up and run ruff and every test in one command: `python3 scripts/test.py [pytest arguments]`."""

import os
import sys

from _environment import ROOT, call, ready_environment, run_script

MOST_PROCESSES = 4  # each with its own PyTorch, 3D Slicer's libraries and a CT or two


def main():
    python = str(ready_environment("test", "train"))
    os.chdir(str(ROOT))
    # Tests start the command hundreds of times: where Python may not keep what it compiled, each compiles it anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    style = call([python, "-m", "ruff", "check"])
    # Tests run whatever ruff says, so that one run shows everything that is wrong.
    tests = call([python, "-m", "pytest", *(sys.argv[1:] or everything())])
    return tests or style


def everything():
    """All tests, each file in one of several processes: half as long as test after test with all processors on it."""
    processors = os.cpu_count() or 1
    if processors == 1:
        return []
    # One more than there are processors: many tests wait for another process or for a limit of time.
    processes = min(MOST_PROCESSES, processors + 1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # In the order of Testing/conftest.py: xdist's own puts files of few tests last, which are the longest.
    return ["-n", str(processes), "--dist", "loadfile", "--no-loadscope-reorder"]


if __name__ == "__main__":
    run_script(main)
