"""`partialorganseg segment`: one CT, several or a folder of them into labelmaps, tables and pictures."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..batch.cases import Case, expand, named_cases
from ..events import Reporter
from . import logfile, segment_batch
from .dicom_kinds import dicom_kinds
from .options import add_common_options, chosen_organs
from .outputs import refuse_existing, writable_folder
from .segmenter import Segmenter

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
    for _, problem in failures:
        reporter.error(problem)
    for case in cases:  # one, unless it has failed already
        segmenter.prepare()
        try:
            refuse_existing(list(case.outputs(folder, not arguments.no_preview).values()), arguments.overwrite)
            since = time.monotonic()
            rows = segmenter(case, folder, reporter)
            report(case, folder, arguments, rows, time.monotonic() - since, reporter)
        except Exception as error:
            problem = logfile.explain_case(error, case.path, folder / logfile.NAME)
            reporter.close()
            reporter.error(problem)
            failures.append((case.path, problem))
    reporter.close()
    reporter.result(segmented=1 - len(failures),
                    failed=[{"input": path, "error": problem.text()} for path, problem in failures])
    return 1 if failures else 0


def report(case: Case, folder: Path, arguments: argparse.Namespace, rows: Sequence[Mapping[str, Any]], seconds: float,
           reporter: Reporter) -> None:
    """Tells of a segmented case: the table of its organs and its files."""
    from ..formats.writing import format_table

    written = case.outputs(folder, not arguments.no_preview)
    table = [{name: value for name, value in row.items() if name != "checks_data"} for row in rows]
    reporter.close()
    reporter.result(input=case.path, name=case.name, files=written, organs=rows, seconds=round(seconds, 2))
    print(f"{case.path} ({seconds:.1f} s)\n{format_table(table)}")
    print("\n".join(f"{kind:<13}{path}" for kind, path in written.items()), flush=True)
