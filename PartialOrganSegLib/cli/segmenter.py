"""One CT after another by the settings of `partialorganseg segment`: read, segmented, checked and written."""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..batch.cases import Case
from ..events import Reporter
from .options import chosen_organs
from .outputs import all_at_once, remove_leftovers

if TYPE_CHECKING:
    from ..batch.work import Appearing
    from ..models.bundle import Bundle
    from ..segmenting.predictor import Predictor


class Segmenter:
    """The settings of a run with its model, whose network is loaded once, before the first CT."""

    def __init__(self, arguments: argparse.Namespace, bundle: Bundle) -> None:
        self.arguments, self.bundle = arguments, bundle
        self.organs = chosen_organs(arguments.organs, bundle.label_space)

    @functools.cached_property
    def predictor(self) -> Predictor:
        from ..segmenting.predictor import Predictor

        return Predictor(self.bundle, device=self.arguments.device, mirror=self.arguments.mirror,
                         scales=self.arguments.scales, precision=self.arguments.precision)

    def prepare(self) -> None:
        """Loads the network, unless that is done. Raises UserError for unfitting weights or an absent device."""
        _ = self.predictor

    def __call__(self, case: Case, folder: Path, reporter: Reporter,
                 appearing: Appearing | None = None, alone: bool = False) -> list[dict[str, Any]]:
        """Reads, segments, checks and writes one CT; returns a row an organ.

        Its files appear in `folder` together, or not at all when anything raises; `appearing` is told right before.
        With `alone`, surely nobody else is at this case: what a killed run left of it is removed.
        """
        from ..formats.dicom_export import write_dicom
        from ..formats.dicom_source import Maker, read_source
        from ..formats.preview import write_preview
        from ..formats.reading import read_ct
        from ..formats.writing import write_labelmap, write_segmentation, write_table
        from ..segmenting.organ_checks import check_organs

        arguments, space = self.arguments, self.bundle.label_space
        if alone:
            remove_leftovers(folder, case.name)
        series = case.series or arguments.series
        ct = read_ct(case.path, series=series, reporter=reporter, force=arguments.force)
        source = read_source(case.path, series, reporter, told=True) if case.dicom else None
        prediction = self.predictor.predict(ct, organs=self.organs, reporter=reporter)
        reports = check_organs(prediction.labels, space, prediction.entropy, ct)
        if self.organs is not None:
            reports = [report for report in reports if report.organ in self.organs]
        rows = [report.as_event() for report in reports]
        with all_at_once(folder, case.name) as scratch:
            files = case.outputs(scratch, not arguments.no_preview)
            write_labelmap(files["labelmap"], prediction.labels)
            write_segmentation(files["segmentation"], prediction.labels, space)
            write_table(files["table"], [report.as_row() for report in reports])
            if source:
                write_dicom(files, prediction.labels, source, [organ for organ in space.organs if not self.organs
                            or organ.name in self.organs], Maker(self.bundle.name, self.bundle.metadata.version))
            if "preview" in files:
                write_preview(files["preview"], ct, prediction.labels, space)
            if appearing:
                appearing(files, rows)
        return rows
