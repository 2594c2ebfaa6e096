"""Runs the module's tests inside a real Slicer, unchanged, and ends with pytest's exit code:

    Slicer --testing --no-splash --no-main-window --additional-module-paths PartialOrganSeg \\
        --python-script Testing/run_in_slicer.py

Slicer's Python needs the tests' packages first: `PythonSlicer -m pip install pytest pytest-timeout psutil Pillow`.
"""

import sys
from pathlib import Path

import slicer.util

HERE = Path(__file__).resolve().parent


def main() -> int:
    try:
        import pytest
    except ModuleNotFoundError:
        print("pytest is missing: PythonSlicer -m pip install pytest pytest-timeout psutil Pillow", file=sys.stderr)
        return 2
    sys.path.insert(0, str(HERE.parent))
    return int(pytest.main([str(HERE / "slicer"), "-ra", "--timeout=600", *sys.argv[1:]]))


if __name__ == "__main__":
    slicer.util.exit(main())
