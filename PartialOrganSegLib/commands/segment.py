"""`partialorganseg segment`: one CT, several or a folder of them into labelmaps, tables and pictures."""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..batch.cases import Case, expand, named_cases
from ..errors import UserError
from ..events import Reporter
from . import logfile, segment_batch
from .dicom_kinds import dicom_kinds
from .options import add_common_options
from .outputs import all_at_once, refuse_existing, remove_leftovers, writable_folder

if TYPE_CHECKING:
    from ..batch.work import Appearing
    from ..inference.predictor import Predictor
    from ..models.bundle import Bundle

HELP = "Segment the organs of one CT, of several or of a folder."
EXAMPLE = "partialorganseg segment scan.nii.gz other-scan/ -o results --organs liver,spleen"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT",
                        help="a NIfTI, NRRD or MetaImage file, a DICOM folder, a folder of such, a CSV with the "
                             "columns image, output, series (the last two may be missing), or a manifest")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder for the results")
    parser.add_argument("--organs", metavar="A,B", help="only these organs, e.g. liver,left_kidney (default: all)")
    parser.add_argument("--model", default="embedded", help="an installed model's name or a bundle's folder")
    parser.add_argument("--series", help="which DICOM series: its number in the list, UID or description")
    parser.add_argument("--dicom", type=dicom_kinds, default=(), metavar="A,B",
                        help="also write DICOM files, of CTs that are DICOM: seg, labelmap-seg, rtstruct")
    parser.add_argument("--mirror", action="store_true",
                        help="also predict the mirrored CT and average: twice the time; "
                             "for models that were trained on mirrored patches, the embedded one was not")
    parser.add_argument("--scales", type=_scales, default=(1.0,), metavar="A,B",
                        help="also predict the CT at these sizes in plane and average, e.g. 0.75,1,1.25; "
                             "for models that were trained at several sizes")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16", "float16"), default="auto",
                        help="of the network's convolutions (default: the model's own where the processor computes it)")
    parser.add_argument("--force", action="store_true", help="segment what does not look like a CT in HU")
    parser.add_argument("--overwrite", action="store_true", help="replace results of an earlier run")
    parser.add_argument("--no-preview", action="store_true", help="make no picture")
    segment_batch.add_arguments(parser)
    add_common_options(parser)


def _scales(text: str) -> tuple[float, ...]:
    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError:
        scales = ()
    if not scales or not all(0.25 <= scale <= 4 for scale in scales):
        raise argparse.ArgumentTypeError(f"expected numbers from 0.25 to 4 like 0.75,1,1.25, found '{text}'")
    return scales


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Segments every case. A failing one is told and does not stop the others; 1 if any failed."""
    from ..formats.dicom_export import check_writers
    from ..models.bundle import load_bundle

    check_writers(arguments.dicom)
    bundle = load_bundle(arguments.model)
    organs = chosen_organs(arguments.organs, bundle.label_space)
    reporter.started(command="segment", inputs=arguments.inputs, output=arguments.output, model=bundle.name,
                     organs=organs or bundle.label_space.names, device=arguments.device)
    entries, failures = expand(arguments.inputs, arguments.output, reporter)
    cases = [replace(case, dicom=arguments.dicom) for case in named_cases(entries, reporter)]
    folder = writable_folder(arguments.output)
    segmenter = Segmenter(arguments, bundle)
    if segment_batch.is_wanted(arguments, len(cases) + len(failures)):
        return segment_batch.run(segmenter, cases, failures, reporter)
    for _, message in failures:
        reporter.error(message)
    for case in cases:  # one, unless it has failed already
        segmenter.prepare()
        try:
            refuse_existing(list(case.outputs(folder, not arguments.no_preview).values()), arguments.overwrite)
            since = time.monotonic()
            rows = segmenter(case, folder, reporter)
            report(case, folder, arguments, rows, time.monotonic() - since, reporter)
        except Exception as error:
            message = logfile.explain_case(error, case.path, folder / logfile.NAME)
            reporter.close()
            reporter.error(message)
            failures.append((case.path, message))
    reporter.close()
    reporter.result(segmented=1 - len(failures),
                    failed=[{"input": path, "error": message} for path, message in failures])
    return 1 if failures else 0


def chosen_organs(text: str | None, label_space: Any) -> list[str] | None:
    """Names from `--organs`, in label order; None for all. Raises UserError for an unknown one, with the nearest."""
    if text is None:
        return None
    wanted = {label_space.organ(name).index for name in text.split(",") if name.strip()}
    if not wanted:
        raise UserError("--organs: expected organ names separated by commas, found none")
    return [organ.name for organ in label_space.organs if organ.index in wanted]


class Segmenter:
    """The settings of a run with its model, whose network is loaded once, before the first CT."""

    def __init__(self, arguments: argparse.Namespace, bundle: Bundle) -> None:
        self.arguments, self.bundle = arguments, bundle
        self.organs = chosen_organs(arguments.organs, bundle.label_space)

    @functools.cached_property
    def predictor(self) -> Predictor:
        from ..inference.predictor import Predictor

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
        from ..inference.checks import check_organs

        arguments, space = self.arguments, self.bundle.label_space
        if alone:
            remove_leftovers(folder, case.name)
        series = case.series or arguments.series
        ct = read_ct(case.path, series=series, reporter=reporter, force=arguments.force)
        source = read_source(case.path, series, reporter, told=True) if case.dicom else None
        prediction = self.predictor.predict(ct, organs=self.organs, reporter=reporter)
        reports = check_organs(prediction.labels, space, prediction.entropy)
        if self.organs is not None:
            reports = [report for report in reports if report.organ in self.organs]
        rows = [{**asdict(report), "checks": "; ".join(report.checks)} for report in reports]
        with all_at_once(folder, case.name) as scratch:
            files = case.outputs(scratch, not arguments.no_preview)
            write_labelmap(files["labelmap"], prediction.labels)
            write_segmentation(files["segmentation"], prediction.labels, space)
            write_table(files["table"], rows)
            if source:
                write_dicom(files, prediction.labels, source, [organ for organ in space.organs if not self.organs
                            or organ.name in self.organs], Maker(self.bundle.name, self.bundle.metadata.version))
            if "preview" in files:
                write_preview(files["preview"], ct, prediction.labels, space)
            if appearing:
                appearing(files, rows)
        return rows


def report(case: Case, folder: Path, arguments: argparse.Namespace, rows: Sequence[Mapping[str, Any]], seconds: float,
           reporter: Reporter) -> None:
    """Tells of a segmented case: the table of its organs and its files."""
    from ..formats.writing import format_table

    written = case.outputs(folder, not arguments.no_preview)
    reporter.close()
    reporter.result(input=case.path, name=case.name, files=written, organs=rows, seconds=round(seconds, 2))
    print(f"{case.path} ({seconds:.1f} s)\n{format_table(rows)}")
    print("\n".join(f"{kind:<13}{path}" for kind, path in written.items()), flush=True)
