"""A case of a run from its CT to its files, which appear together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..events import Reporter
from ..outputs import all_at_once, remove_leftovers
from .cases import Case
from .records import OrganRow

if TYPE_CHECKING:
    from ..segmenting.segmenter import Segmenter
    from .processing import OnFilesWritten


class CaseSegmenter:
    """Segments cases into folders with one `Segmenter`."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter

    def prepare(self) -> None:
        """Loads the network, unless that is done. Raises UserError for unfitting weights or an absent device."""
        self._segmenter.prepare()

    def __call__(self, case: Case, folder: Path, reporter: Reporter,
                 on_files_written: OnFilesWritten | None = None, exclusive: bool = False) -> list[OrganRow]:
        """Reads, segments, checks and writes one CT; returns a row for each organ.

        Its files appear in `folder` together, or not at all when anything raises; `on_files_written` is called right
        before they appear. `exclusive`: no other process can be working on this case, so what a killed run left of it
        is removed.
        """
        # Without that, what looks left over may be what another process is writing.
        if exclusive:
            remove_leftovers(folder, case.name)
        result = self._segmenter(case.path, series=case.series, reporter=reporter)
        rows = result.organ_events
        with all_at_once(folder, case.name) as scratch:
            files = case.outputs(scratch, self._segmenter.options.preview)
            result.write(files)
            if on_files_written is not None:
                on_files_written(files, rows)
        return rows
