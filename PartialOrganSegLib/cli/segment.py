"""`partialorganseg segment`: label maps, tables and pictures of one CT, of several or of a folder of them."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import logfile
from ..batch.case_list import is_list
from ..batch.cases import Case, expand, named_cases
from ..batch.options import BatchOptions
from ..errors import Code, Problem, UsageError, one_line
from ..events import Reporter
from ..formats.dicom_export import ENDINGS
from ..outputs import refuse_existing, writable_folder
from ..segmenting.options import PRECISIONS, SegmentOptions, check_dicom
from ..segmenting.result_files import earlier_of_other_kinds, remove_earlier, single_kind, target_files
from . import segment_batch, segment_remote
from .options import add_common_options, add_device_option

if TYPE_CHECKING:
    from ..batch.records import OrganRow
    from ..segmenting.segmenter import Segmenter

HELP = "Segment the organs of one CT, of several, or of all CTs in a folder."
EXAMPLE = """partialorganseg segment scan.nii.gz -o organs.nii.gz
  partialorganseg segment scan.nii.gz other-scan/ -o results --organs liver,spleen"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT",
                        help="a NIfTI, NRRD or MetaImage file, a DICOM folder, a folder of these, a CSV with the "
                             "columns image, output, series (the last two are optional), or a manifest")
    parser.add_argument("-o", "--output", required=True, metavar="OUT",
                        help="folder for the results; for one CT, also a file .nii.gz, .nrrd, .seg.nrrd or .dcm "
                             "(DICOM SEG)")
    parser.add_argument("--organs", metavar="A,B", help="only these organs, e.g. liver,left_kidney (default: all)")
    parser.add_argument("--model", default="embedded",
                        help="an installed model's name or a bundle's folder (default: embedded); several, as A,B,C, "
                             "are asked together, which takes as many times as long")
    parser.add_argument("--combine", default="mean", metavar="mean|vote",
                        help="how several models are: by the mean of their probabilities (default), or by the vote of "
                             "the majority")
    parser.add_argument("--series", help="which DICOM series: its number in the list, UID or description")
    parser.add_argument("--dicom", default=(), metavar="A,B",
                        help="for CTs in DICOM, also write DICOM files: seg, labelmap-seg, rtstruct")
    parser.add_argument("--absent-organs", action="store_true",
                        help="DICOM files also name organs without a voxel (default: they are left out)")
    parser.add_argument("--fast", action="store_true",
                        help="see the CT no finer than 3 x 2 x 2 mm: with the embedded model this saves a fifth to "
                             "nearly half of the time, and small organs lose most")
    parser.add_argument("--mirror", action="store_true",
                        help="test-time augmentation: average with the prediction of the mirrored CT. Takes twice the "
                             "time; only for models trained on mirrored patches, which the embedded one was not")
    parser.add_argument("--scales", default=(1.0,), metavar="A,B",
                        help="test-time augmentation: average the predictions of the CT at these in-plane sizes, "
                             "e.g. 0.75,1,1.25; only for models trained at several sizes")
    parser.add_argument("--precision", default="auto", metavar="|".join(PRECISIONS),
                        help="number format of the network's convolutions (default: the model's, where the processor "
                             "supports it)")
    parser.add_argument("--force", action="store_true", help="also segment images that do not look like a CT in HU")
    parser.add_argument("--overwrite", action="store_true", help="replace results of an earlier run")
    parser.add_argument("--no-preview", action="store_true", help="write no preview picture")
    segment_batch.add_arguments(parser)
    segment_remote.add_arguments(parser)
    add_device_option(parser)
    add_common_options(parser)


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Segments every case. One that fails is reported and does not stop the others; 1 if any failed."""
    from ..segmenting.segmenter import Segmenter

    kind = single_kind(arguments.output)
    options = _options(arguments, kind)
    if arguments.on is not None:
        return segment_remote.run(arguments, options, _usual(), reporter)
    output = Path(arguments.output)
    batch_options = BatchOptions(output=output, resume=arguments.resume or any(map(is_list, arguments.inputs)),
                                 shard=arguments.shard, ray=arguments.ray, workers=arguments.workers,
                                 time_limit=arguments.time_limit, memory_limit=arguments.memory_limit)
    # Made before the inputs are looked at: a wrong model or organ is found at once, not after a walk over folders.
    segmenter = Segmenter(options)
    space = segmenter.bundle.label_space
    reporter.started(command="segment", inputs=arguments.inputs, output=output, model=segmenter.bundle.name,
                     organs=segmenter.organs or space.names, device=options.device)
    entries, failures = expand(arguments.inputs, output, reporter)
    # Each case carries its kinds of DICOM files: with --resume it is finished only when all of these lie there.
    cases = [replace(case, dicom=check_dicom(options.dicom)) for case in named_cases(entries, reporter, output)]
    count = len(cases) + len(failures)
    if kind is not None and count > 1:
        raise UsageError(code=Code.SETTINGS_CONFLICT, subject=output, expected=f"a folder for {count} CTs",
                         found="the name of one file")
    writable_folder(output if kind is None else output.parent)
    if kind is None and batch_options.keeps_table(count):
        return segment_batch.run(segmenter, batch_options, cases, failures, reporter)
    for _, problem in failures:
        reporter.error(problem)
    for case in cases:  # one at most: of more, there would be a table
        if kind is None:
            one_failed = _segment_into_folder(segmenter, case, batch_options, reporter)
        else:
            one_failed = _segment_into_file(segmenter, case, output, reporter)
        if one_failed is not None:
            reporter.close()
            reporter.error(one_failed)
            failures.append((case.path, one_failed))
    reporter.close()
    reporter.result(segmented=1 - len(failures),
                    failed=[{"input": path, "error": problem.text()} for path, problem in failures])
    return int(bool(failures))


def _usual() -> argparse.Namespace:
    """The options as they are when none is given."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(["ct", "-o", "out"])


def _options(arguments: argparse.Namespace, kind: str | None) -> SegmentOptions:
    """The options of the segmentation. Raises UsageError, also for what does not go with a single file of `kind`."""
    dicom = arguments.dicom
    # A single file has no room for records, nor for files of other kinds.
    if kind is not None:
        for name in ("dicom", "resume", "shard", "ray", "time-limit", "memory-limit"):
            if getattr(arguments, name.replace("-", "_")):
                raise UsageError(code=Code.SETTINGS_CONFLICT, subject=f"--{name}", expected="a folder as output",
                                 found=f"the file {arguments.output}")
        dicom = []
        if kind in ENDINGS:
            dicom = [kind]
    return SegmentOptions(model=arguments.model, combine=arguments.combine, organs=arguments.organs,
                          device=arguments.device, precision=arguments.precision, mirror=arguments.mirror,
                          fast=arguments.fast, scales=arguments.scales, series=arguments.series, force=arguments.force,
                          dicom=dicom, absent_organs=arguments.absent_organs, preview=not arguments.no_preview,
                          overwrite=arguments.overwrite)


def _segment_into_file(segmenter: Segmenter, case: Case, output: Path, reporter: Reporter) -> Problem | None:
    """Segments a case into one file; the problem that stopped it. An earlier file is refused before that."""
    segmenter.prepare()
    options = segmenter.options
    start = time.monotonic()
    try:
        # The earlier result is looked for before minutes are spent on a new one.
        files = target_files(output, case.name, options.preview, options.dicom, case.path)
        refuse_existing(list(files.values()), options.overwrite)
        result = segmenter(case.path, series=case.series, reporter=reporter)
        files = result.save(output, name=case.name, reporter=reporter)
    except Exception as error:
        return logfile.explain_case(error, case.path, logfile.user_log())
    _report(case, files, result.organ_events, time.monotonic() - start, reporter)
    return None


def _segment_into_folder(segmenter: Segmenter, case: Case, options: BatchOptions, reporter: Reporter) -> Problem | None:
    """Segments a case into a folder, with a record as one of many has; the problem that stopped it."""
    from ..batch.run import outcomes

    files = case.outputs(options.output / case.place, segmenter.options.preview)
    earlier = earlier_of_other_kinds(files, options.output / case.place, case.name)
    [outcome] = outcomes(segmenter, options, [case], reporter)
    if outcome.problem is not None:
        return outcome.problem
    remove_earlier(earlier, reporter)
    _report(case, files, outcome.rows, outcome.record.seconds, reporter)
    return None


def _report(case: Case, files: Mapping[str, Path], organs: Sequence[OrganRow], seconds: float,
            reporter: Reporter) -> None:
    """Prints a segmented case: the table of its organs and its files."""
    from ..formats.writing import format_table

    reporter.close()
    reporter.result(input=case.path, name=case.name, files=files, organs=organs, seconds=round(seconds, 2))
    # The checks stand there as a text as well.
    rows = [{key: value for key, value in row.items() if key != "checks_data"} for row in organs]
    print(one_line(f"{case.path} ({seconds:.1f} s)"), format_table(rows), sep="\n")
    print("\n".join(one_line(f"{kind:<13}{path}") for kind, path in files.items()), flush=True)
