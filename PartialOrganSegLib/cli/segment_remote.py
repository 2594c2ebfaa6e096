"""`partialorganseg segment --on ADDRESS`: the CTs are read here, segmented on another computer, and written here."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from .. import logfile
from ..batch.cases import expand, named_cases
from ..errors import Code, UsageError, one_line
from ..events import Reporter
from ..segmenting.options import SegmentOptions
from ..segmenting.result_files import single_kind

_LOCAL = ("model", "combine", "dicom", "mirror", "fast", "precision", "shard", "ray", "time_limit", "memory_limit",
          "device", "absent_organs", "resume")  # what the server decides, or what is made of the whole run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--on", metavar="ADDRESS", help="segment on another computer that serves: http://HOST:PORT, "
                        "https://HOST:PORT, or ssh://USER@HOST, with the model that it serves")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="with --on: the file with the server's token "
                        "(default: serve-token beside your models)")
    parser.add_argument("--authority", type=Path, metavar="PEM", help="with --on https: a certificate to trust, where "
                        "the server's is signed by nobody that this computer knows")


def run(arguments: argparse.Namespace, options: SegmentOptions, usual: argparse.Namespace, reporter: Reporter) -> int:
    """Segments every case on the other computer; 1 if any failed. `usual`: the options as they are when not given."""
    from ..formats.reading import read_ct
    from ..formats.writing import format_table
    from ..serving.connection import parsed
    from ..serving.remote import segment_remotely

    for name in _LOCAL:
        if getattr(arguments, name) != getattr(usual, name):
            raise UsageError(code=Code.SETTINGS_CONFLICT, subject=f"--{name.replace('_', '-')}",
                             expected="a segmentation on this computer", found=f"--on {arguments.on}")
    output = Path(arguments.output)
    if single_kind(arguments.output) is not None:
        raise UsageError(code=Code.SETTINGS_CONFLICT, subject="--on", expected="a folder as output",
                         found=f"the file {output}")
    connection = parsed(arguments.on, arguments.token_file, arguments.authority)
    reporter.started(command="segment", inputs=arguments.inputs, output=output, on=arguments.on)
    entries, failures = expand(arguments.inputs, output, reporter)
    for _, problem in failures:
        reporter.error(problem)
    cases = named_cases(entries, reporter, output)
    organs = None
    if options.organs is not None:
        organs = tuple(options.organs)
    segmented = 0
    for case in cases:
        start = time.monotonic()
        try:
            ct = read_ct(case.path, case.series, reporter, options.force)
            result = segment_remotely(ct, connection, output / case.place, case.name, organs,
                                      options.preview, options.force, options.overwrite, reporter)
        except Exception as error:
            problem = logfile.explain_case(error, case.path, logfile.user_log())
            reporter.close()
            reporter.error(problem)
            failures.append((case.path, problem))
            continue
        segmented += 1
        seconds = time.monotonic() - start
        reporter.close()
        reporter.result(input=case.path, name=case.name, files=result.files, organs=result.organs,
                        seconds=round(seconds, 2))
        rows = [{key: value for key, value in row.items() if key != "checks_data"} for row in result.organs]
        print(one_line(f"{case.path} ({seconds:.1f} s)"), format_table(rows), sep="\n", flush=True)
    reporter.close()
    reporter.result(segmented=segmented, failed=[
        {"input": path, "error": problem.text()} for path, problem in failures])
    return int(bool(failures))
