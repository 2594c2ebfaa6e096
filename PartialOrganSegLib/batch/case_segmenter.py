"""A case of a run from its CT to its files, which appear together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Problem, UserError
from ..events import Reporter
from ..outputs import all_at_once
from .cases import Case
from .records import OrganRow

if TYPE_CHECKING:
    from ..segmenting.result import SegmentResult
    from ..segmenting.segmenter import Segmenter
    from .processing import OnFilesWritten


class CaseSegmenter:
    """Segments cases into folders with one `Segmenter`."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter

    def prepare(self) -> None:
        """Loads the network, unless that is done. Raises UserError for unfitting weights or an absent device."""
        self._segmenter.prepare()

    def process_id(self) -> int:
        """This process."""
        return os.getpid()

    def close(self) -> None:
        """The network stays loaded: it is the segmenter's."""

    def __call__(self, case: Case, folder: Path, reporter: Reporter,
                 on_files_written: OnFilesWritten | None = None) -> list[OrganRow]:
        """Reads, segments, checks and writes one CT; returns a row for each organ.

        Its files appear in `folder` together, or not at all when anything raises but the writers of DICOM;
        `on_files_written` is called right before they appear.
        """
        result = self._segmenter(case.path, series=case.series, reporter=reporter)
        rows = result.organ_events
        with all_at_once(folder, case.name) as scratch:
            files = case.outputs(scratch, self._segmenter.options.preview)
            not_written = write_all_but_dicom(result, files)
            if on_files_written is not None:
                on_files_written(existing(files), rows)
        if not_written is not None:
            raise UserError(not_written.with_text(str(scratch), str(folder)))
        return rows


def write_all_but_dicom(result: SegmentResult, files: Mapping[str, Path]) -> Problem | None:
    """Writes the files; the problem of DICOM files that could not be, which costs the others nothing.

    Raises UserError for the others.
    """
    from ..formats.dicom_export import DicomNotWrittenError

    try:
        result.write(files)
    except DicomNotWrittenError as error:
        return error.problem
    return None


def existing(files: Mapping[str, Path]) -> dict[str, Path]:
    """Those of the files by kind that are there."""
    return {kind: path for kind, path in files.items() if os.path.isfile(path)}
