"""`partialorganseg segment`: one CT, several or a folder of them into labelmaps, tables and pictures."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import logfile
from ..batch.cases import Case, expand, is_list, named_cases
from ..batch.options import BatchOptions
from ..errors import Code, UsageError
from ..events import Reporter
from ..formats.dicom_export import ENDINGS
from ..outputs import refuse_existing, writable_folder
from ..segmenting.options import PRECISIONS, SegmentOptions, check_dicom
from ..segmenting.result_files import single_kind, target_files
from . import segment_batch
from .options import add_common_options

if TYPE_CHECKING:
    from ..segmenting.result import SegmentResult
    from ..segmenting.segmenter import Segmenter

HELP = "Segment the organs of one CT, of several or of a folder."
EXAMPLE = """partialorganseg segment scan.nii.gz -o organs.nii.gz
  partialorganseg segment scan.nii.gz other-scan/ -o results --organs liver,spleen"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT",
                        help="a NIfTI, NRRD or MetaImage file, a DICOM folder, a folder of such, a CSV with the "
                             "columns image, output, series (the last two may be missing), or a manifest")
    parser.add_argument("-o", "--output", required=True, metavar="OUT",
                        help="folder for the results, or for one CT a file .nii.gz, .nrrd, .seg.nrrd or .dcm (DICOM "
                             "SEG)")
    parser.add_argument("--organs", metavar="A,B", help="only these organs, e.g. liver,left_kidney (default: all)")
    parser.add_argument("--model", default="embedded", help="an installed model's name or a bundle's folder")
    parser.add_argument("--series", help="which DICOM series: its number in the list, UID or description")
    parser.add_argument("--dicom", default=(), metavar="A,B",
                        help="also write DICOM files, of CTs that are DICOM: seg, labelmap-seg, rtstruct")
    parser.add_argument("--mirror", action="store_true",
                        help="also predict the mirrored CT and average: twice the time; "
                             "for models that were trained on mirrored patches, the embedded one was not")
    parser.add_argument("--scales", default=(1.0,), metavar="A,B",
                        help="also predict the CT at these sizes in plane and average, e.g. 0.75,1,1.25; "
                             "for models that were trained at several sizes")
    parser.add_argument("--precision", default="auto", metavar="|".join(PRECISIONS),
                        help="of the network's convolutions (default: the model's own where the processor computes it)")
    parser.add_argument("--force", action="store_true", help="segment what does not look like a CT in HU")
    parser.add_argument("--overwrite", action="store_true", help="replace results of an earlier run")
    parser.add_argument("--no-preview", action="store_true", help="make no picture")
    segment_batch.add_arguments(parser)
    add_common_options(parser)


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Segments every case. A failing one is told and does not stop the others; 1 if any failed."""
    from ..segmenting.segmenter import Segmenter

    kind = single_kind(arguments.output)
    options = _options(arguments, kind)
    output = Path(arguments.output)
    many = BatchOptions(output=output, resume=arguments.resume or any(map(is_list, arguments.inputs)),
                        shard=arguments.shard, ray=arguments.ray, workers=arguments.workers)
    segmenter = Segmenter(options)
    space = segmenter.bundle.label_space
    reporter.started(command="segment", inputs=arguments.inputs, output=output, model=segmenter.bundle.name,
                     organs=segmenter.organs or space.names, device=options.device)
    entries, failures = expand(arguments.inputs, output, reporter)
    cases = [replace(case, dicom=check_dicom(options.dicom)) for case in named_cases(entries, reporter)]
    count = len(cases) + len(failures)
    if kind is not None and count > 1:
        raise UsageError(code=Code.SETTINGS_CONFLICT, subject=output, expected=f"a folder for {count} CTs",
                         found="the name of one file")
    writable_folder(output if kind is None else output.parent)
    if kind is None and many.keeps_records(count):
        return segment_batch.run(segmenter, many, cases, failures, reporter)
    for _, problem in failures:
        reporter.error(problem)
    for case in cases:  # one, unless it has failed already
        segmenter.prepare()
        try:
            _segment_one(segmenter, case, output, reporter)
        except Exception as error:
            log = output / logfile.NAME if kind is None else logfile.user_log()
            problem = logfile.explain_case(error, case.path, log)
            reporter.close()
            reporter.error(problem)
            failures.append((case.path, problem))
    reporter.close()
    reporter.result(segmented=1 - len(failures),
                    failed=[{"input": path, "error": problem.text()} for path, problem in failures])
    return 1 if failures else 0


def _options(arguments: argparse.Namespace, kind: str | None) -> SegmentOptions:
    """What was asked for. Raises UsageError, also for what does not go with a single file of that kind."""
    dicom = arguments.dicom
    if kind is not None:
        for name in ("dicom", "resume", "shard", "ray"):
            if getattr(arguments, name):
                raise UsageError(code=Code.SETTINGS_CONFLICT, subject=f"--{name}", expected="a folder as output",
                                 found=f"the file {arguments.output}")
        dicom = [kind] if kind in ENDINGS else []
    return SegmentOptions(model=arguments.model, organs=arguments.organs, device=arguments.device,
                          precision=arguments.precision, mirror=arguments.mirror, scales=arguments.scales,
                          series=arguments.series, force=arguments.force, dicom=dicom,
                          preview=not arguments.no_preview, overwrite=arguments.overwrite)


def _segment_one(segmenter: Segmenter, case: Case, output: Path, reporter: Reporter) -> None:
    options = segmenter.options
    files = target_files(output, case.name, options.preview, options.dicom, case.path)
    refuse_existing(list(files.values()), options.overwrite)
    since = time.monotonic()
    result = segmenter(case.path, series=case.series, reporter=reporter)
    files = result.save(output, name=case.name)
    _report(case, files, result, time.monotonic() - since, reporter)


def _report(case: Case, files: Mapping[str, Path], result: SegmentResult, seconds: float, reporter: Reporter) -> None:
    """Tells of a segmented case: the table of its organs and its files."""
    from ..formats.writing import format_table

    reporter.close()
    reporter.result(input=case.path, name=case.name, files=files, organs=result.organ_events,
                    seconds=round(seconds, 2))
    print(f"{case.path} ({seconds:.1f} s)\n{format_table(result.rows)}")
    print("\n".join(f"{kind:<13}{path}" for kind, path in files.items()), flush=True)
