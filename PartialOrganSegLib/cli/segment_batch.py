"""`partialorganseg segment` over many CTs: resumable, in shards, on a cluster; with a record a case and a run table."""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..batch.cases import Case, is_list
from ..batch.records import FOLDER
from ..batch.sharding import Shard
from ..errors import Problem
from ..events import Reporter
from . import logfile
from .segmenter import Segmenter

if TYPE_CHECKING:
    from ..batch.work import Batch, Outcome

# What has no say in the voxels of a result, or is in the record by another name. All other settings are compared.
NOT_COMPARED = frozenset({"command", "inputs", "output", "device", "json_events", "model", "organs", "overwrite",
                          "no_preview", "dicom", "resume", "shard", "ray", "workers"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what only matters for many CTs."""
    many = parser.add_argument_group("many CTs")
    many.add_argument("--resume", action="store_true",
                      help="skip CTs that are finished: same content, model and settings (for CSVs, manifests, --shard "
                           "and --ray it is always so)")
    many.add_argument("--shard", type=_shard, metavar="K/N", help="only the K-th of N parts, e.g. "
                                                                  "$SLURM_ARRAY_TASK_ID/16 with --array=1-16")
    many.add_argument("--ray", metavar="ADDRESS", help="share the work out with Ray: 'local' for this computer, 'auto' "
                                                       "or HOST:PORT for a running cluster")
    many.add_argument("--workers", type=_workers, metavar="N", help="with --ray: how many CTs at the same time "
                                                                    "(default: one a GPU, else one for four cores)")


def _shard(text: str) -> Shard:
    try:
        return Shard.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _workers(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, found '{text}'")
    return int(text)


def is_wanted(arguments: argparse.Namespace, inputs: int) -> bool:
    """Whether this run of so many inputs keeps records: of many, or where there are some that must stay true."""
    return inputs > 1 or _resumes(arguments) or (arguments.output / FOLDER).is_dir()


def _resumes(arguments: argparse.Namespace) -> bool:
    return bool(arguments.resume or arguments.shard or arguments.ray or any(map(is_list, arguments.inputs)))


def run(segmenter: Segmenter, cases: Sequence[Case], failures: Sequence[tuple[Path, Problem]],
        reporter: Reporter) -> int:
    """Sees that every case of this shard is done; the run table is written however it ends. 1 if any case failed."""
    from ..batch.run_table import write_run_table

    arguments = segmenter.arguments
    shard = arguments.shard or Shard()
    cases, failures = shard.of(cases), shard.of(failures)
    for _, problem in failures:
        reporter.error(problem)
    segmented = skipped = 0
    failed: list[tuple[Path | str, str]] = [(path, problem.text()) for path, problem in failures]
    try:
        for number, outcome in enumerate(_outcomes(segmenter, cases, reporter), 1):
            _tell(outcome, segmenter, f"{number}/{len(cases)}", reporter)
            skipped += outcome.skipped
            if outcome.record.error:
                failed.append((outcome.case.path, outcome.record.error))
            elif not outcome.skipped:
                segmented += 1
            reporter.progress("cases", number, len(cases))
    finally:
        reporter.close()
        table = write_run_table(arguments.output)
    reporter.result(segmented=segmented, skipped=skipped, table=table,
                    failed=[{"input": path, "error": message} for path, message in failed])
    names = ": " * bool(failed) + ", ".join(str(path) for path, _ in failed)
    print(f"{segmented} segmented, {skipped} finished before, {len(failed)} failed{names}; {table}")
    return 1 if failed else 0


def _outcomes(segmenter: Segmenter, cases: Sequence[Case], reporter: Reporter) -> Iterator[Outcome]:
    from ..batch.running import attend_all

    arguments, batch = segmenter.arguments, batch_of(segmenter)
    if arguments.ray is None:
        return attend_all(cases, batch, segmenter, explainer(batch), reporter)
    from ..batch import cluster

    folder = segmenter.bundle.folder
    anywhere = argparse.Namespace(**vars(arguments) | {
        "output": batch.output, "model": arguments.model if folder != Path(arguments.model) else folder.resolve()})
    return cluster.attend_all(cases, batch, functools.partial(worker_parts, anywhere), arguments.ray,
                              arguments.workers, arguments.device != "cpu", reporter)


def batch_of(segmenter: Segmenter) -> Batch:
    """What all cases have in common, as their records say it."""
    from ..batch.work import Batch
    from ..models.checksums import MANIFEST, sha256

    arguments = segmenter.arguments
    settings = {key: value for key, value in vars(arguments).items() if key not in NOT_COMPARED}
    settings["organs"] = segmenter.organs
    return Batch(arguments.output.resolve(), sha256(segmenter.bundle.folder / MANIFEST),
                 json.loads(json.dumps(settings, default=str, sort_keys=True)), not arguments.no_preview,
                 arguments.overwrite, _resumes(arguments))


def worker_parts(arguments: argparse.Namespace) -> tuple[Batch, Segmenter, functools.partial[Problem]]:
    """In a worker's process: what it works with, made from arguments that hold on every computer."""
    from ..models.bundle import load_bundle

    segmenter = Segmenter(arguments, load_bundle(arguments.model))
    batch = batch_of(segmenter)
    return batch, segmenter, explainer(batch)


def explainer(batch: Batch) -> functools.partial[Problem]:
    """Turns an error into a case's problem; the traceback goes to the output folder's log."""
    return functools.partial(_explain, batch.output / logfile.NAME)


def _explain(log: Path, error: Exception, case: Case) -> Problem:
    return logfile.explain_case(error, case.path, log)


def _tell(outcome: Outcome, segmenter: Segmenter, count: str, reporter: Reporter) -> None:
    """One line a case: thousands of tables help nobody."""
    case, record, arguments = outcome.case, outcome.record, segmenter.arguments
    reporter.close()
    for warning in outcome.warnings:
        reporter.warning(warning)
    if record.error:
        reporter.error(outcome.problem or record.error)
        return
    files = case.outputs(arguments.output / case.place, not arguments.no_preview)
    facts: dict[str, Any] = {"input": case.path, "name": case.title, "files": files, "seconds": record.seconds,
                             "peak_mib": record.peak_mib, "skipped": outcome.skipped}
    if not outcome.skipped:
        facts["organs"] = outcome.rows
    reporter.result(**facts)
    what = "finished before" if outcome.skipped else f"{record.seconds:.1f} s, {record.peak_mib} MiB"
    print(f"{count} {case.title}: {what}", flush=True)
