"""Set up and run ruff and every test in one command: `python3 scripts/test.py [pytest arguments]`."""

import os
import sys

from _environment import ROOT, call, ready_environment, run_script


def main():
    python = str(ready_environment("test", "train"))
    os.chdir(str(ROOT))
    style = call([python, "-m", "ruff", "check"])
    tests = call([python, "-m", "pytest", *sys.argv[1:]])
    return tests or style


if __name__ == "__main__":
    run_script(main)
