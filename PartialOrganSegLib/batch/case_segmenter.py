"""A case of a run from its CT to its files, which appear together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..events import Reporter
from ..outputs import all_at_once, remove_leftovers
from .cases import Case

if TYPE_CHECKING:
    from ..segmenting.segmenter import Segmenter
    from .work import Appearing


class CaseSegmenter:
    """Segments cases into folders with one `Segmenter`."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter

    def prepare(self) -> None:
        """Loads the network, unless that is done. Raises UserError for unfitting weights or an absent device."""
        self._segmenter.prepare()

    def __call__(self, case: Case, folder: Path, reporter: Reporter,
                 appearing: Appearing | None = None, alone: bool = False) -> list[dict[str, Any]]:
        """Reads, segments, checks and writes one CT; returns a row an organ.

        Its files appear in `folder` together, or not at all when anything raises; `appearing` is told right before.
        With `alone`, surely nobody else is at this case: what a killed run left of it is removed.
        """
        if alone:
            remove_leftovers(folder, case.name)
        result = self._segmenter(case.path, series=case.series, reporter=reporter)
        rows = result.organ_events
        with all_at_once(folder, case.name) as scratch:
            files = case.outputs(scratch, self._segmenter.options.preview)
            result.write(files)
            if appearing:
                appearing(files, rows)
        return rows
