"""A run over many CTs, in this process or on a cluster, from the options of both."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from .. import logfile
from ..errors import Problem
from ..events import Reporter
from ..models.ensemble import model_checksum
from ..models.folders import find_folder
from ..real_paths import real_path
from .case_segmenter import CaseSegmenter
from .cases import Case
from .local import process_all
from .options import BatchOptions
from .processing import Batch, Outcome, Segment

if TYPE_CHECKING:
    from ..segmenting.options import SegmentOptions
    from ..segmenting.segmenter import Segmenter


def outcomes(segmenter: Segmenter, options: BatchOptions, cases: Sequence[Case],
             reporter: Reporter) -> Iterator[Outcome]:
    """Processes every case; outcomes as they come. Raises UserError for what concerns every case."""
    batch = batch_of(segmenter, options)
    if options.ray is None:
        return process_all(cases, batch, case_segmenter(segmenter, options, batch), explainer(batch), reporter)
    from . import cluster

    # What a worker needs is pickled: options, not the loaded model.
    segment_options = replace(segmenter.options, model=_absolute(segmenter.options.model))
    worker_options = replace(options, output=batch.output)
    workers = None if options.workers is None else int(options.workers)
    make_parts = functools.partial(worker_parts, segment_options, worker_options)
    return cluster.process_all(cases, batch, make_parts, options.ray, workers, segment_options.device != "cpu",
                               reporter)


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
    from .limited import LimitedCaseSegmenter

    return LimitedCaseSegmenter(segmenter.options, options, batch.output / logfile.NAME)


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
