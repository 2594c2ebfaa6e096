"""Runs the module's tests inside a real Slicer, unchanged, and ends with 0 when they pass:

    Slicer --testing --no-splash --no-main-window --additional-module-paths PartialOrganSeg \\
        --python-script Testing/run_in_slicer.py

They need packages that Slicer does not ship:

    PythonSlicer -m pip install pytest pytest-timeout hypothesis psutil Pillow

Without them, as on the machines that build extensions, only the module's self-test runs, and that is said.
"""

import sys
import unittest
from pathlib import Path

import slicer.util

HERE = Path(__file__).resolve().parent


def main() -> int:
    try:
        import pytest
    except ModuleNotFoundError:
        print("pytest is missing, so only the self-test of the module runs. For all tests: PythonSlicer -m pip install "
              "pytest pytest-timeout hypothesis psutil Pillow", file=sys.stderr)
        return self_test()
    # Tests import the library and `Testing.helpers` from the checkout.
    sys.path.insert(0, str(HERE.parent))
    return int(pytest.main([str(HERE / "slicer"), "-ra", "--timeout=600", *sys.argv[1:]]))


def self_test() -> int:
    """Runs the module's own test, which needs nothing beyond Slicer; 0 when it passes."""
    from PartialOrganSeg import PartialOrganSegTest

    suite = unittest.defaultTestLoader.loadTestsFromTestCase(PartialOrganSegTest)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    return 0 if result.testsRun and result.wasSuccessful() else 1


if __name__ == "__main__":
    slicer.util.exit(main())
