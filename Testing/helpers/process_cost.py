"""What a child process costs: wall time, processor time and peak memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Cost(NamedTuple):
    """Seconds from start to end, processor seconds of all cores, and the peak of memory in MiB."""

    seconds: float
    processor_s: float
    mib: float


def cost_of(command: list[str], log: Path, environment: Mapping[str, str] | None = None) -> Cost:
    """Runs a command to its end; what it prints goes to `log`. Raises SystemExit with that when it fails.

    Needs os.wait4 (Linux, macOS).
    """
    start = time.perf_counter()
    with open(log, "w") as handle:
        child = subprocess.Popen(command, stdout=handle, stderr=subprocess.STDOUT,
                                 env=None if environment is None else {**os.environ, **environment})
        # Peak memory of this child alone; `resource` gives the largest of all children.
        _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)}\n{log.read_text()}")
    mib = usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return Cost(seconds, usage.ru_utime + usage.ru_stime, mib)
