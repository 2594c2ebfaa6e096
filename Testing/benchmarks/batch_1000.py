"""A run over many CTs that everything happens to: nothing lost, nothing done twice, a true table, flat memory.

    python Testing/benchmarks/batch_1000.py --count 1000 --kills 10 --json Resources/figures/batch_1000.json

Small phantoms, with one CT among them from which the network never comes back, one for which it takes memory without
end, one that crashes it and one that is no image; once on one machine and once on a cluster of two workers (Ray, on
this machine). Each run is killed (SIGKILL) several times: as a whole, with all its processes, or one of its workers
alone; and once it is started where no file above 100 bytes can be written, as on a full disk. Every time it is simply
started again. The exit code is 1 where anything was wrong:

- lost: a phantom without a whole result that its record describes;
- twice: a phantom that two starts report as segmented;
- differing: a sample of label maps that differ from those of an uninterrupted run in another folder;
- table: a row too many, too few, or that says something else than the record;
- left: hidden files and locks behind the last start;
- memory: how much more the run's process, and the processes of cases, hold in the last third than in the second.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from PartialOrganSegLib.batch.records import DONE, FAILED, Record, read_record
from PartialOrganSegLib.formats.writing import write_ct
from PartialOrganSegLib.synthesis.phantom import make_phantom
from Testing.helpers.batch_data import hidden, table
from Testing.helpers.figure_rows import keep_rows
from Testing.helpers.moody_network import CRASHES_HU, EATS_HU, ENDLESS_HU, moody_bundle, write_moody_ct

SHAPE, SPACING_MM = (32, 32, 32), 10.0
ILL = {"crashes": CRASHES_HU, "eats": EATS_HU, "endless": ENDLESS_HU}  # CTs that fail alone, by their block's HU
TEXT = "text"  # a CT that is no image
MEMORY_GIB = 1.8  # for a CT
FULL_BYTES = 100
SAMPLE = 10  # label maps that are compared
# Python's memory goes up and down by tens of MiB; what leaks with every CT is far above after a thousand.
TOLERATED_MIB = 64
CURVE_POINTS = 20
WORKER = "ray::_Worker"  # how Ray calls the processes of workers
MIB = 1 << 20


@dataclass
class Tally:
    """What a run of several starts did."""

    starts: int = 0
    kills: int = 0
    segmented: Counter[str] = field(default_factory=Counter)
    # Finished phantoms, and MiB that the run's own process held then: of the longest start.
    memory: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=1000, help="phantoms (default: 1000)")
    parser.add_argument("--kills", type=int, default=10, help="of each run (default: 10)")
    parser.add_argument("--minutes", type=float, default=0.5, help="time limit of a CT (default: 0.5)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", default="here,cluster")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to keep the table as well")
    arguments = parser.parse_args()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cts(folder / "cts", arguments.count, arguments.seed)
        model = moody_bundle(folder / "moody", SPACING_MM).folder
        print("| run | phantoms | starts | kills | lost | twice | differing | table | left | memory MiB | seconds |")
        print("|---" * 11 + "|", flush=True)
        for run in arguments.runs.split(","):
            words = ["segment", str(folder / "cts"), "-o", str(folder / run), "--model", str(model), "--no-preview",
                     "--device", "cpu", "--resume", "--time-limit", str(arguments.minutes), "--memory-limit",
                     str(MEMORY_GIB), "--json-events"]
            if run == "cluster":
                words += ["--ray", "local", "--workers", "2"]
            tally = until_finished(words, folder / run, arguments.count, arguments.kills,
                                   random.Random(f"{run} {arguments.seed}"))
            wrong += report(run, folder, model, arguments.count, tally, arguments.json)
    print("", *(wrong or ["nothing wrong"]), sep="\n")
    return int(bool(wrong))


def write_cts(folder: Path, count: int, seed: int) -> None:
    """The phantoms, and those that are ill among them."""
    folder.mkdir()
    for number in range(count):
        ct, _ = make_phantom(SHAPE, (SPACING_MM,) * 3, seed + number)
        write_ct(folder / f"phantom{number:04}.nii.gz", ct)
    for place, (name, hu) in enumerate(ILL.items(), 1):
        # Spread over the run, in the order of names.
        write_moody_ct(folder / f"phantom{place * count // 4:04}_{name}.nii.gz", hu, SPACING_MM)
    (folder / f"phantom0000_{TEXT}.nii.gz").write_text("not an image")


def until_finished(words: list[str], out: Path, count: int, kills: int, moments: random.Random) -> Tally:
    """Starts the run, kills it whenever so many phantoms more are finished, and starts it again to its end."""
    tally, begin = Tally(), time.monotonic()
    for number in range(kills):
        due = count * (number + 1) // (kills + 1)
        start(words, out, tally, due, worker_alone="--ray" in words and moments.random() < 0.5)
        if number == kills // 2:
            full_disk(words, tally)
    code = start(words, out, tally)
    if code != 1:  # the ill ones fail
        raise SystemExit(f"the last start ended with exit code {code}")
    tally.seconds = time.monotonic() - begin
    return tally


def start(words: list[str], out: Path, tally: Tally, due: int | None = None,
          worker_alone: bool = False) -> int | None:
    """Runs until `due` phantoms are finished and kills it then; or to its end, whose exit code it gives."""
    tally.starts += 1
    process = subprocess.Popen([sys.executable, "-m", "PartialOrganSegLib", *words], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    # A full pipe would stop the run.
    reader = threading.Thread(target=read_events, args=(process, tally.segmented))
    reader.start()
    memory: list[tuple[int, float]] = []
    while process.poll() is None:
        finished = len(list(out.glob("*.labels.nii.gz")))
        with contextlib.suppress(psutil.Error):
            memory.append((finished, psutil.Process(process.pid).memory_info().rss / MIB))
        if due is not None and finished >= due:
            tally.kills += 1
            if kill(process.pid, worker_alone):
                due = None  # the run goes on with another worker
        time.sleep(0.2)
    reader.join()
    if len(memory) > len(tally.memory):
        tally.memory = memory
    return process.returncode


def read_events(process: subprocess.Popen[str], segmented: Counter[str]) -> None:
    """Counts how often each CT is reported as segmented, not as finished before."""
    assert process.stdout is not None
    for line in process.stdout:
        with contextlib.suppress(ValueError):  # the last line of a run that was killed
            event = json.loads(line)
            if event["event"] == "result" and "name" in event and not event["skipped"]:
                segmented[event["name"]] += 1


def kill(process_id: int, worker_alone: bool) -> bool:
    """Kills one worker, which it says, or the whole run with all its processes."""
    processes = [psutil.Process(process_id), *psutil.Process(process_id).children(recursive=True)]
    workers = [process for process in processes if is_worker(process)]
    if worker_alone and workers:
        processes = workers[:1]
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=60)
    return worker_alone and bool(workers)


def is_worker(process: psutil.Process) -> bool:
    try:
        return " ".join(process.cmdline()).startswith(WORKER)
    except psutil.Error:
        return False


def full_disk(words: list[str], tally: Tally) -> None:
    """Starts the run where nothing can be written: it has to end by itself, with one line and exit code 1."""
    tally.starts += 1
    ended = subprocess.run([sys.executable, "-m", "PartialOrganSegLib", *words], capture_output=True, text=True,
                           check=False, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_BYTES,) * 2))
    if ended.returncode != 1 or "Traceback" in ended.stderr:
        raise SystemExit(f"full disk: exit code {ended.returncode}, {ended.stderr[-500:]}")


def report(run: str, folder: Path, model: Path, count: int, tally: Tally, kept: Path | None) -> list[str]:
    """Prints the run's row, and keeps it in the file `kept`; what was wrong."""
    out = folder / run
    records = {record.case: record for record in records_of(out)}
    phantoms = [f"phantom{number:04}" for number in range(count)]
    lost = [name for name in phantoms if name not in records or not is_whole(records[name], out)]
    twice = [name for name in phantoms if tally.segmented[name] > 1]
    differing = compare(folder, out, model, phantoms)
    rows = wrong_rows(out, records, phantoms)
    leftovers = [path.name for path in hidden(out)]
    growth = grown(tally.memory), grown_records(list(records.values()))
    print(f"| {run} | {count} | {tally.starts} | {tally.kills} | {len(lost)} | {len(twice)} | {len(differing)} | "
          f"{len(rows)} | {len(leftovers)} | {growth[0]:+.0f}, {growth[1]:+.0f} | {tally.seconds:.0f} |", flush=True)
    wrong = []
    kinds = {"lost": lost, "twice": twice, "differing": differing, "table": rows, "left": leftovers}
    if kept is not None:
        row = {"run": run, "phantoms": count, "starts": tally.starts, "kills": tally.kills}
        row |= {kind: len(names) for kind, names in kinds.items()}
        row |= {"memory_mib": round(max(growth)), "seconds": round(tally.seconds), "held_mib": curve(tally.memory)}
        keep_rows(kept, [row], ("run",))
    for kind, names in kinds.items():
        if names:
            wrong.append(f"{run}: {kind}: {', '.join(names[:5])}")
    if max(growth) > TOLERATED_MIB:
        wrong.append(f"{run}: memory grew by {max(growth):.0f} MiB")
    return wrong


def records_of(out: Path) -> Iterator[Record]:
    for path in sorted((out / "records").glob("*.json")):
        record = read_record(path)
        if record is not None:
            yield record


def is_whole(record: Record, out: Path) -> bool:
    return record.state == DONE and record.finished(record.made_from, [out / name for name in record.outputs])


def wrong_rows(out: Path, records: dict[str, Record], phantoms: list[str]) -> list[str]:
    """Rows of the run table that are not as they have to be."""
    rows = table(out)
    wrong = [name for name, row in rows.items() if row["state"] != records[name].state]
    expected = set(phantoms) | {path.name.removesuffix(".nii.gz") for path in (out.parent / "cts").iterdir()}
    wrong += sorted(expected ^ set(rows))
    for name in expected - set(phantoms):
        if name in rows and (rows[name]["state"] != FAILED or not rows[name]["error"]):
            wrong.append(name)
    return wrong


def compare(folder: Path, out: Path, model: Path, phantoms: list[str]) -> list[str]:
    """Phantoms of a sample whose label maps differ from those of an uninterrupted run without limits."""
    sample = phantoms[::max(1, len(phantoms) // SAMPLE)]
    alone = folder / f"{out.name} alone"
    words = [sys.executable, "-m", "PartialOrganSegLib", "segment", "-o", str(alone), "--model", str(model),
             "--no-preview", "--device", "cpu", *(str(folder / "cts" / f"{name}.nii.gz") for name in sample)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ending = ".labels.nii.gz"
    return [name for name in sample
            if not (out / f"{name}{ending}").is_file()
            or (out / f"{name}{ending}").read_bytes() != (alone / f"{name}{ending}").read_bytes()]


def grown(memory: list[tuple[int, float]]) -> float:
    """MiB by which the most of the last third is above the most of the second, of one process."""
    # The first third fills caches and pools, which is no leak.
    third = len(memory) // 3
    if not third:
        return 0.0
    return max(held for _, held in memory[2 * third:]) - max(held for _, held in memory[third:2 * third])


def curve(memory: list[tuple[int, float]]) -> list[tuple[int, int]]:
    """Finished phantoms and the most MiB that the run's process held meanwhile, at some twenty points."""
    most: dict[int, float] = {}
    step = max(1, max((finished for finished, _ in memory), default=0) // CURVE_POINTS)
    for finished, held in memory:
        place = finished // step * step
        most[place] = max(most.get(place, 0.0), held)
    return [(place, round(held)) for place, held in sorted(most.items())]


def grown_records(records: list[Record]) -> float:
    """The same of the processes in which the phantoms were segmented, by when their records were written."""
    finished = sorted((record for record in records if record.state == DONE), key=lambda record: record.written)
    return grown([(number, float(record.peak_mib)) for number, record in enumerate(finished)])


if __name__ == "__main__":
    sys.exit(main())
