"""A run over many CTs, in this process or on a cluster, from the options of both."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import logfile
from ..errors import Problem
from ..events import Reporter
from ..models.checksums import MANIFEST, sha256
from .case_segmenter import CaseSegmenter
from .cases import Case
from .options import BatchOptions
from .running import attend_all
from .work import Batch, Outcome

if TYPE_CHECKING:
    from ..segmenting.options import SegmentOptions
    from ..segmenting.segmenter import Segmenter


def outcomes(segmenter: Segmenter, options: BatchOptions, cases: Sequence[Case],
             reporter: Reporter) -> Iterator[Outcome]:
    """Sees that every case is done; outcomes as they come. Raises UserError for what concerns every case."""
    batch = batch_of(segmenter, options)
    if options.ray is None:
        return attend_all(cases, batch, CaseSegmenter(segmenter), explainer(batch), reporter)
    from . import cluster

    wanted, folder = segmenter.options, segmenter.bundle.folder
    if folder == Path(wanted.model):  # a relative path is another one in a worker's process
        wanted = replace(wanted, model=folder.resolve())
    anywhere = replace(options, output=batch.output)
    workers = None if options.workers is None else int(options.workers)
    return cluster.attend_all(cases, batch, functools.partial(worker_parts, wanted, anywhere), options.ray, workers,
                              wanted.device != "cpu", reporter)


def batch_of(segmenter: Segmenter, options: BatchOptions) -> Batch:
    """What all cases have in common, as their records say it."""
    wanted, bundle = segmenter.options, segmenter.bundle
    return Batch(options.output.resolve(), sha256(bundle.folder / MANIFEST),
                 wanted.deciding_settings(bundle.label_space), wanted.preview, wanted.overwrite, options.resumes)


def worker_parts(wanted: SegmentOptions,
                 options: BatchOptions) -> tuple[Batch, CaseSegmenter, functools.partial[Problem]]:
    """In a worker's process: what it works with, made from options that hold on every computer."""
    from ..segmenting.segmenter import Segmenter

    segmenter = Segmenter(wanted)
    batch = batch_of(segmenter, options)
    return batch, CaseSegmenter(segmenter), explainer(batch)


def explainer(batch: Batch) -> functools.partial[Problem]:
    """Turns an error into a case's problem; the traceback goes to the output folder's log."""
    return functools.partial(_explain, batch.output / logfile.NAME)


def _explain(log: Path, error: Exception, case: Case) -> Problem:
    return logfile.explain_case(error, case.path, log)
