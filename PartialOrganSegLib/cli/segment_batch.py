"""`partialorganseg segment` over many CTs: resumable, in shards, on a cluster; with a record a case and a run table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..batch.cases import Case
from ..batch.options import BatchOptions
from ..batch.sharding import Shard
from ..errors import Problem
from ..events import Reporter

if TYPE_CHECKING:
    from ..batch.work import Outcome
    from ..segmenting.segmenter import Segmenter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what only matters for many CTs."""
    many = parser.add_argument_group("many CTs")
    many.add_argument("--resume", action="store_true",
                      help="skip CTs that are finished: same content, model and settings (for CSVs, manifests, --shard "
                           "and --ray it is always so)")
    many.add_argument("--shard", metavar="K/N", help="only the K-th of N parts, e.g. $SLURM_ARRAY_TASK_ID/16 with "
                                                     "--array=1-16")
    many.add_argument("--ray", metavar="ADDRESS", help="share the work out with Ray: 'local' for this computer, 'auto' "
                                                       "or HOST:PORT for a running cluster")
    many.add_argument("--workers", metavar="N", help="with --ray: how many CTs at the same time (default: one a GPU, "
                                                     "else one for four cores)")


def run(segmenter: Segmenter, options: BatchOptions, cases: Sequence[Case], failures: Sequence[tuple[Path, Problem]],
        reporter: Reporter) -> int:
    """Sees that every case of this shard is done; the run table is written however it ends. 1 if any case failed."""
    from ..batch.run import outcomes
    from ..batch.run_table import write_run_table

    shard = options.shard if isinstance(options.shard, Shard) else Shard()
    cases, failures = shard.of(cases), shard.of(failures)
    for _, problem in failures:
        reporter.error(problem)
    segmented = skipped = 0
    failed: list[tuple[Path | str, str]] = [(path, problem.text()) for path, problem in failures]
    try:
        for number, outcome in enumerate(outcomes(segmenter, options, cases, reporter), 1):
            files = outcome.case.outputs(options.output / outcome.case.place, segmenter.options.preview)
            _report(outcome, files, f"{number}/{len(cases)}", reporter)
            skipped += outcome.skipped
            if outcome.record.error:
                failed.append((outcome.case.path, outcome.record.error))
            elif not outcome.skipped:
                segmented += 1
            reporter.progress("cases", number, len(cases))
    finally:
        reporter.close()
        table = write_run_table(options.output)
    reporter.result(segmented=segmented, skipped=skipped, table=table,
                    failed=[{"input": path, "error": message} for path, message in failed])
    names = ": " * bool(failed) + ", ".join(str(path) for path, _ in failed)
    print(f"{segmented} segmented, {skipped} finished before, {len(failed)} failed{names}; {table}")
    return 1 if failed else 0


def _report(outcome: Outcome, files: dict[str, Path], count: str, reporter: Reporter) -> None:
    """One line a case: thousands of tables help nobody."""
    case, record = outcome.case, outcome.record
    reporter.close()
    for warning in outcome.warnings:
        reporter.warning(warning)
    if record.error:
        reporter.error(outcome.problem or record.error)
        return
    facts: dict[str, Any] = {"input": case.path, "name": case.title, "files": files, "seconds": record.seconds,
                             "peak_mib": record.peak_mib, "skipped": outcome.skipped}
    if not outcome.skipped:
        facts["organs"] = outcome.rows
    reporter.result(**facts)
    what = "finished before" if outcome.skipped else f"{record.seconds:.1f} s, {record.peak_mib} MiB"
    print(f"{count} {case.title}: {what}", flush=True)
