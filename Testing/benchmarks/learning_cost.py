"""What learning costs before its first step, how much memory it takes, and whether it keeps to its minutes.

    python Testing/benchmarks/learning_cost.py prepare --data ../shared/data/manifest.yaml \\
        --json Resources/figures/speed_learning.json
    python Testing/benchmarks/learning_cost.py memory --data ../shared/data/manifest.yaml \\
        --json Resources/figures/speed_learning.json
    python Testing/benchmarks/learning_cost.py minutes --data ../shared/data/manifest.yaml --minutes 5 \\
        --neighbours 0 1 2 --json Resources/figures/speed_learning.json

`prepare`: seconds to read, resample and keep ten CTs as training reads them, and again once they are kept; each CT by
itself in the order of the manifest, so that a run that was ended says something too. `memory`: peak of `finetune` on
three CTs with the organs of their labels, for `--steps` steps: of the process and of all that it starts, as the memory
that they do not share (Linux: proportional set size; elsewhere resident). `minutes`: the whole time of a `finetune` on
these CTs that is asked for `--minutes`, from its start to its end, beside each number of processes that only compute.
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
from collections.abc import Iterator
from pathlib import Path

import psutil
import yaml

from PartialOrganSegLib.annotation import CandidateTable
from PartialOrganSegLib.datasets.case import Case
from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.loading.cache import cache_cases
from PartialOrganSegLib.models.bundle import load_bundle
from Testing.helpers.busy_neighbours import busy_neighbours
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


def manifest_of(cases: list[Case], names: list[str], folder: Path) -> Path:
    """A manifest of the cases called `names`, with the organs of their labels."""
    entries = [{"image": str(case.image.resolve()), "label": str(Path(str(case.label)).resolve()),
                "name": case.image.parent.name, "annotated": list(case.annotated)}
               for case in cases if case.image.parent.name in names]
    file = folder / "manifest.yaml"
    content = {"label_space": "word16", "datasets": [{"name": "mine", "kind": "partial", "cases": entries}]}
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


@contextlib.contextmanager
def finetuning(manifest: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command at work, its run folder `run` and its output `log` beside the manifest. Fails where it failed."""
    log_file = manifest.with_name("log")
    with open(log_file, "w") as log:
        child = subprocess.Popen([sys.executable, "-m", "PartialOrganSegLib", "finetune", "--data", str(manifest), "-o",
                                  str(manifest.with_name("run")), "--device", "cpu", "--json-events", *words],
                                 stdout=log, stderr=log)
        try:
            yield child
        except BaseException:  # Ctrl-C as well: nobody would wait for it any more
            child.kill()
            raise
    if child.wait():
        raise SystemExit(log_file.read_text()[-3000:])


def finetune_memory(data: Path, cases: list[Case], names: list[str], steps: int) -> Row:
    """Peak MiB of fine-tuning on the cases called `names`, and when it was."""
    with tempfile.TemporaryDirectory() as folder_name:
        peak, when, start = 0, 0.0, time.monotonic()
        with finetuning(manifest_of(cases, names, Path(folder_name)), "--steps", str(steps)) as child:
            process = psutil.Process(child.pid)
            while child.poll() is None:
                with contextlib.suppress(psutil.Error):
                    now = memory_of(process)
                    if now > peak:
                        peak, when = now, time.monotonic() - start
                time.sleep(EVERY_S)
    return {"what": "fine-tuning", "cts": len(names), "steps": steps, "mib": peak // MIB, "peak_at_s": round(when),
            "seconds": round(time.monotonic() - start), "aim_mib": AIM_MIB, "data": data.name}


def minutes_kept(data: Path, cases: list[Case], names: list[str], minutes: float, neighbours: int) -> Row:
    """The share of the minutes asked for that fine-tuning used beside busy neighbours, and what it used them for."""
    with tempfile.TemporaryDirectory() as folder_name, busy_neighbours(neighbours):
        manifest, start = manifest_of(cases, names, Path(folder_name)), time.monotonic()
        with finetuning(manifest, "--minutes", str(minutes)) as child:
            child.wait()
        used = (time.monotonic() - start) / 60
        result = json.loads(manifest.with_name("run").joinpath("result.json").read_text(encoding="utf-8"))
        events = [json.loads(line) for line in manifest.with_name("log").read_text().splitlines() if line[:1] == "{"]
    return {"what": "minutes", "cts": len(names), "neighbours": neighbours, "minutes": minutes,
            "used": round(used, 2), "share": round(used / minutes, 3),
            "steps": max(event.get("step", 0) for event in events),
            "used_for": result["minutes"], "data": data.name}


def main() -> None:
    """Prints and keeps a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["prepare", "memory", "minutes"])
    parser.add_argument("--data", type=Path, required=True, help="a manifest")
    parser.add_argument("--count", type=int, default=10, help="CTs to prepare (default: 10)")
    parser.add_argument("--cases", nargs="+", default=THREE, metavar="CT")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--neighbours", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    parser.add_argument("--busy", action="store_true", help="other programs ran meanwhile")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to keep the row as well")
    arguments = parser.parse_args()
    cases = list(load_manifest(arguments.data).cases)
    for row in rows_of(arguments, cases):
        row |= {"date": datetime.date.today().isoformat(), "busy": arguments.busy}
        print(json.dumps(row), flush=True)
        if arguments.json:
            keep_rows(arguments.json, [row], ("what", "cts", "neighbours", "minutes"))


def rows_of(arguments: argparse.Namespace, cases: list[Case]) -> Iterator[Row]:
    """What is asked for."""
    if arguments.what == "prepare":
        yield prepare([case for case in cases if case.label is not None], arguments.count)
    elif arguments.what == "memory":
        yield finetune_memory(arguments.data, cases, arguments.cases, arguments.steps)
    else:
        for count in arguments.neighbours:
            yield minutes_kept(arguments.data, cases, arguments.cases, arguments.minutes, count)


if __name__ == "__main__":
    main()
