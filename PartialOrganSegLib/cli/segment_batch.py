"""`partialorganseg segment` over many CTs: resumable, in shards or on a cluster, with records and a run table."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..batch.cases import Case
from ..batch.options import BatchOptions
from ..batch.sharding import Shard
from ..errors import Problem, one_line
from ..events import Reporter

if TYPE_CHECKING:
    from ..batch.processing import Outcome
    from ..segmenting.segmenter import Segmenter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that only matter for many CTs."""
    group = parser.add_argument_group("many CTs")
    group.add_argument("--resume", action="store_true",
                       help="skip CTs that are finished: same content, model and settings (always on for CSVs, "
                            "manifests, --shard and --ray)")
    group.add_argument("--shard", metavar="K/N",
                       help="segment only the K-th of N parts, e.g. $SLURM_ARRAY_TASK_ID/16 with --array=1-16")
    group.add_argument("--ray", metavar="ADDRESS",
                       help="distribute the CTs with Ray: 'local' for this computer, 'auto' or HOST:PORT for a running "
                            "cluster")
    group.add_argument("--workers", metavar="N",
                       help="how many CTs to segment at the same time, each in a process of its own (default: of four "
                            "CTs and more one a free core, as memory allows; one with a GPU, --shard or --time-limit; "
                            "with --ray one on each GPU, or one for every four cores)")
    group.add_argument("--time-limit", metavar="MINUTES",
                       help="a CT that takes longer fails, and the others go on")
    group.add_argument("--memory-limit", metavar="GIB",
                       help="a CT that takes more memory fails, and the others go on")


def run(segmenter: Segmenter, options: BatchOptions, cases: Sequence[Case], failures: Sequence[tuple[Path, Problem]],
        reporter: Reporter) -> int:
    """Processes every case of this shard; the run table is written however the run ends. 1 if any case failed."""
    from ..batch.run import outcomes
    from ..batch.run_table import write_run_table

    shard = options.shard if isinstance(options.shard, Shard) else Shard()
    # Unreadable inputs are shared out as cases are, so that each is reported once over all shards.
    cases, failures = shard.of(cases), shard.of(failures)
    for _, problem in failures:
        reporter.error(problem)
    segmented = skipped = 0
    failed: list[tuple[Path | str, str]] = [(path, problem.text()) for path, problem in failures]
    try:
        # Closed at once when a run is cancelled: no process of it works on while the table is written.
        with contextlib.closing(outcomes(segmenter, options, cases, reporter, _tell)) as results:
            for number, outcome in enumerate(results, 1):
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
    summary = f"{segmented} segmented, {skipped} finished before, {len(failed)} failed"
    if failed:
        summary += f": {', '.join(str(path) for path, _ in failed)}"
    print(one_line(f"{summary}; {table}"))
    return int(bool(failed))


def _tell(line: str) -> None:
    print(line, flush=True)


def _report(outcome: Outcome, files: dict[str, Path], count: str, reporter: Reporter) -> None:
    """Prints a line for the case: nobody reads a thousand tables."""
    case, record = outcome.case, outcome.record
    reporter.close()
    for warning in outcome.warnings:
        reporter.warning(warning)
    if record.error:
        reporter.error(outcome.problem or record.error)
        return
    # Of a case that was finished before, nothing is read again, so no table of its organs is at hand.
    facts: dict[str, object] = {"input": case.path, "name": case.title, "files": files, "seconds": record.seconds,
                                "peak_mib": record.peak_mib, "skipped": outcome.skipped}
    if not outcome.skipped:
        facts["organs"] = outcome.rows
    reporter.result(**facts)
    title = one_line(case.title)
    line = f"{count} {title}: {record.seconds:.1f} s, {record.peak_mib} MiB"
    if outcome.skipped:
        line = f"{count} {title}: finished before"
    print(one_line(line), flush=True)
