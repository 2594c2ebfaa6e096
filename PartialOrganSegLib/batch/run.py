"""A run over many CTs, in this process, in several or on a cluster, from the options of all."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from .. import logfile
from ..errors import Code, Problem
from ..events import Reporter
from ..models.ensemble import model_checksum
from ..models.folders import find_folder
from ..real_paths import real_path
from . import local
from .case_segmenter import CaseSegmenter
from .cases import Case
from .options import BatchOptions
from .processing import Batch, Outcome, Segment
from .workers import plan, processes_that_fit

if TYPE_CHECKING:
    from ..segmenting.options import SegmentOptions
    from ..segmenting.segmenter import Segmenter
    from .apart import CaseSegmenterApart


def outcomes(segmenter: Segmenter, options: BatchOptions, cases: Sequence[Case], reporter: Reporter,
             tell: Callable[[str], None] = lambda line: None) -> Generator[Outcome]:
    """Processes every case; outcomes as they come. Close it, as of a run in the middle.

    `tell` receives a line for a person when several CTs are segmented at a time. Raises UserError for what concerns
    every case.
    """
    batch = batch_of(segmenter, options)
    if options.ray is None:
        return _here(segmenter, options, cases, batch, reporter, tell)
    from . import cluster

    # What a worker needs is pickled: options, not the loaded model.
    segment_options = replace(segmenter.options, model=_absolute(segmenter.options.model))
    worker_options = replace(options, output=batch.output)
    workers = None if options.workers is None else int(options.workers)
    make_parts = functools.partial(worker_parts, segment_options, worker_options)
    return cluster.process_all(cases, batch, make_parts, options.ray, workers, segment_options.device != "cpu",
                               reporter)


def _here(segmenter: Segmenter, options: BatchOptions, cases: Sequence[Case], batch: Batch, reporter: Reporter,
          tell: Callable[[str], None]) -> Generator[Outcome]:
    """On this computer: one case after the other, or several at a time where that is faster."""
    explain = explainer(batch)
    planned = plan(cases, batch, options, segmenter.options.device)
    if planned.processes == 1:
        yield from local.process_all(cases, batch, case_segmenter(segmenter, options, batch), explain, reporter)
        return
    from . import beside

    segments = [_apart(segmenter, options, batch)]
    with contextlib.closing(segments[0]):
        processes = processes_that_fit(planned, options, segments[0].ready())
        if processes == 1:
            yield from local.process_all(cases, batch, segments[0], explain, reporter)
            return
        tell(f"{processes} CTs at a time, each in a process of its own (--workers 1: one after the other)")
        segments += [_apart(segmenter, options, batch) for _ in range(processes - 1)]
        tried_again = {Code.WORKER_DIED}
        if options.memory_limit is None:
            tried_again.add(Code.NO_MEMORY)
        yield from beside.process_all(cases, batch, segments, _apart(segmenter, options, batch), explain, planned.cores,
                                      tried_again, reporter)


def _absolute(model: str | Path | Sequence[str | Path]) -> str | Path | Sequence[str | Path]:
    """A model, or several, with the folders that are no installed names as absolute paths."""
    if not isinstance(model, str | Path):
        return [cast("str | Path", _absolute(folder_or_name)) for folder_or_name in model]
    folder = find_folder(model)
    # A relative path means another folder in a worker's process.
    if folder == Path(model):
        return real_path(folder)
    return model


def batch_of(segmenter: Segmenter, options: BatchOptions) -> Batch:
    """What all cases have in common, as their records say it."""
    segment_options, bundle = segmenter.options, segmenter.bundle
    return Batch(real_path(options.output), model_checksum(bundle),
                 segment_options.deciding_settings(bundle.label_space), segment_options.preview,
                 segment_options.overwrite, options.resumes)


def case_segmenter(segmenter: Segmenter, options: BatchOptions, batch: Batch) -> Segment:
    """What segments the cases: in this process, or in one apart where a case may take only so much."""
    if not options.limited:
        return CaseSegmenter(segmenter)
    return _apart(segmenter, options, batch)


def _apart(segmenter: Segmenter, options: BatchOptions, batch: Batch) -> CaseSegmenterApart:
    """What segments cases in a process of its own."""
    from .apart import CaseSegmenterApart

    return CaseSegmenterApart(segmenter.options, options, batch.output / logfile.NAME)


def worker_parts(segment_options: SegmentOptions,
                 options: BatchOptions) -> tuple[Batch, Segment, functools.partial[Problem]]:
    """What a worker's process works with, made there from options that hold on every computer."""
    from ..segmenting.segmenter import Segmenter

    segmenter = Segmenter(segment_options)
    batch = batch_of(segmenter, options)
    return batch, case_segmenter(segmenter, options, batch), explainer(batch)


def explainer(batch: Batch) -> functools.partial[Problem]:
    """Turns an error into a case's problem; the traceback goes to the output folder's log."""
    return functools.partial(_explain, batch.output / logfile.NAME)


def _explain(log: Path, error: Exception, case: Case) -> Problem:
    return logfile.explain_case(error, case.path, log)
