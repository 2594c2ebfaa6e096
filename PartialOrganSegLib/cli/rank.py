"""`partialorganseg rank`: which CT, which organ and which slice is worth a stroke most."""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import logfile
from ..errors import Code, UsageError, UserError, one_line
from ..events import Reporter
from ..outputs import refuse_existing, refuse_inputs, writable_folder
from ..segmenting.options import SegmentOptions
from .options import add_common_options, add_device_option

HELP = ("Say where to draw next: the organs of some CTs that the model is least sure of, with the slice to draw in, "
        "the most worthwhile first.")
EXAMPLE = "partialorganseg rank scans/ -o next.csv"
SHOWN = 10  # rows; the table has all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT",
                        help="a NIfTI, NRRD or MetaImage file, a DICOM folder, a folder of these, a CSV or a manifest, "
                             "as segment takes them")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="the table, a file .csv")
    parser.add_argument("--organs", metavar="A,B", help="only these organs (default: all of the model)")
    parser.add_argument("--model", default="embedded", help="the model that shall learn from the strokes")
    parser.add_argument("--force", action="store_true", help="also take images that do not look like a CT in HU")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier table")
    add_device_option(parser)
    add_common_options(parser)


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Ranks the organs of all CTs. A CT that fails is reported and does not stop the others; 1 if any failed."""
    from ..batch.cases import expand, named_cases
    from ..formats.writing import format_table, write_table
    from ..refining.ranking import COLUMNS, OrganWorth, in_order, rank_organs
    from ..segmenting.segmenter import Segmenter

    output: Path = arguments.output
    if output.suffix.lower() != ".csv":
        raise UsageError(code=Code.NAME_UNFIT, subject=output, expected="a file ending in .csv", found=f"'{output}'")
    # What is in the way shows before the work.
    if output.is_dir():
        raise UserError(code=Code.FILE_EXISTS, subject=output, expected="the name of a file to write", found="a folder")
    refuse_inputs([output], arguments.inputs)
    refuse_existing([output], arguments.overwrite)
    writable_folder(output.parent)
    segmenter = Segmenter(SegmentOptions(model=arguments.model, organs=arguments.organs, device=arguments.device,
                                         force=arguments.force, preview=False))
    reporter.started(command="rank", inputs=arguments.inputs, output=output, model=segmenter.bundle.name)
    entries, failures = expand(arguments.inputs, output, reporter)
    for _, problem in failures:
        reporter.error(problem)
    failed = len(failures)
    worths: list[OrganWorth] = []
    cases = named_cases(entries, reporter)
    for number, case in enumerate(cases, 1):
        try:
            worths += rank_organs(segmenter(case.path, series=case.series, reporter=reporter), case.title)
        except Exception as error:  # whatever is amiss with one CT, the others are ranked
            failed += 1
            reporter.close()
            reporter.error(logfile.explain_case(error, case.path, logfile.user_log()))
        reporter.progress("cases", number, len(cases))
    rows = [worth.as_row() for worth in in_order(worths)]
    reporter.close()
    if failed == len(cases) + len(failures):  # a table of nothing would be in the way of the next one
        reporter.result(table=None, rows=rows, failed=failed)
        print(f"no CT could be ranked, {failed} failed; nothing was written", flush=True)
        return 1
    # Also without a row: an earlier table in this place would look like what came of these CTs.
    write_table(output, rows, COLUMNS)
    if rows:
        print(format_table(rows[:SHOWN]), flush=True)
    reporter.result(table=output, rows=rows, failed=failed)
    print(one_line(f"{len(rows) or 'no'} organs of {len(cases)} CTs, {failed} failed; {output}"), flush=True)
    return int(bool(failed))
