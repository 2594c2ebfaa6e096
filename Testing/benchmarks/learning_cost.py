"""What learning costs before its first step, and how much memory it takes.

    python Testing/benchmarks/learning_cost.py prepare --data ../shared/data/manifest.yaml \\
        --json Resources/figures/speed_learning.json
    python Testing/benchmarks/learning_cost.py memory --data ../shared/data/manifest.yaml \\
        --json Resources/figures/speed_learning.json

`prepare`: seconds to read, resample and keep ten CTs as training reads them, and again once they are kept; each CT by
itself in the order of the manifest, so that a run that was ended says something too. `memory`: peak of `finetune` on
three CTs with the organs of their labels, for `--steps` steps: of the process and of all that it starts, as the memory
that they do not share (Linux: proportional set size; elsewhere resident).
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml

from PartialOrganSegLib.annotation import CandidateTable
from PartialOrganSegLib.datasets.case import Case
from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.loading.cache import cache_cases
from PartialOrganSegLib.models.bundle import load_bundle
from Testing.helpers.figure_rows import Row, keep_rows

EVERY_S = 0.2
MIB = 1 << 20
AIM_MIB = 2560
THREE = ["crlm_1004", "crlm_1006", "cptac_c3l_00189"]


def prepare(cases: list[Case], count: int) -> Row:
    """Processor and wall seconds of each CT, made and read back."""
    learner = load_bundle("embedded").learner
    table = CandidateTable(learner.label_space.class_count)
    seconds: dict[str, list[float]] = {"made": [], "made_cpu": [], "kept": []}
    with tempfile.TemporaryDirectory() as folder_name:
        for number, case in enumerate(cases[:count]):
            for turn in ("made", "kept"):
                start, processor = time.perf_counter(), time.process_time()
                cache_cases([case], learner.label_space, table, learner.preprocessing.spacing_zyx, Path(folder_name),
                            Reporter(), air_is_background=True)
                seconds[turn].append(time.perf_counter() - start)
                if turn == "made":
                    seconds["made_cpu"].append(time.process_time() - processor)
            print(f"{number + 1} {case.name}: {seconds['made'][-1]:.1f} s, again {seconds['kept'][-1]:.2f} s",
                  flush=True)
    return {"what": "preparation", "cts": len(seconds["made"]), **{
        f"{turn}_s": round(sum(times), 1) for turn, times in seconds.items()}}


def memory_of(process: psutil.Process) -> int:
    """Bytes of a process and of its children; what several share counts once where the system says so."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            information = one.memory_full_info()
            total += getattr(information, "pss", information.rss)
    return total


def finetune_memory(data: Path, cases: list[Case], names: list[str], steps: int) -> Row:
    """Peak MiB of fine-tuning on the cases called `names`, and when it was."""
    chosen = [case for case in cases if case.image.parent.name in names]
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        entries = [{"image": str(case.image.resolve()), "label": str(Path(str(case.label)).resolve()),
                    "name": case.image.parent.name, "annotated": list(case.annotated)} for case in chosen]
        content = {"label_space": "word16", "datasets": [{"name": "mine", "kind": "partial", "cases": entries}]}
        (folder / "manifest.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        with open(folder / "log", "w") as log:
            child = subprocess.Popen([sys.executable, "-m", "PartialOrganSegLib", "finetune", "--data",
                                      str(folder / "manifest.yaml"), "-o", str(folder / "run"), "--steps", str(steps),
                                      "--device", "cpu", "--json-events"], stdout=log, stderr=log)
            process, start = psutil.Process(child.pid), time.monotonic()
            peak, when = 0, 0.0
            while child.poll() is None:
                with contextlib.suppress(psutil.Error):
                    now = memory_of(process)
                    if now > peak:
                        peak, when = now, time.monotonic() - start
                time.sleep(EVERY_S)
        if child.returncode:
            raise SystemExit((folder / "log").read_text()[-3000:])
    return {"what": "fine-tuning", "cts": len(chosen), "steps": steps, "mib": peak // MIB, "peak_at_s": round(when),
            "seconds": round(time.monotonic() - start), "aim_mib": AIM_MIB, "data": data.name}


def main() -> None:
    """Prints and keeps a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["prepare", "memory"])
    parser.add_argument("--data", type=Path, required=True, help="a manifest")
    parser.add_argument("--count", type=int, default=10, help="CTs to prepare (default: 10)")
    parser.add_argument("--cases", nargs="+", default=THREE, metavar="CT")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--busy", action="store_true", help="other programs ran meanwhile")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to keep the row as well")
    arguments = parser.parse_args()
    cases = list(load_manifest(arguments.data).cases)
    if arguments.what == "prepare":
        row = prepare([case for case in cases if case.label is not None], arguments.count)
    else:
        row = finetune_memory(arguments.data, cases, arguments.cases, arguments.steps)
    row |= {"date": datetime.date.today().isoformat(), "busy": arguments.busy}
    print(json.dumps(row))
    if arguments.json:
        keep_rows(arguments.json, [row], ("what", "cts"))


if __name__ == "__main__":
    main()
