"""`partialorganseg evaluate`: predictions against references, for each organ and case, as tables and an HTML page."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..errors import Code, UsageError, UserError, one_line
from ..events import Reporter
from ..outputs import all_at_once, refuse_existing, writable_folder
from .options import add_common_options, chosen_organs, name_list, organs_or_all, positive

HELP = ("Score predictions against full, partial or scribbled references: Dice, surface distances and volumes, as "
        "tables and an HTML report.")
EXAMPLE = """partialorganseg evaluate results/ references/ -o evaluation
  partialorganseg evaluate scan.labels.nii.gz scan_label.nii.gz --images scan.nii.gz -o evaluation
  partialorganseg evaluate results/ manifest.yaml --against other-results/ -o evaluation"""

_DEFAULT_SPACE = "word16"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("predictions", type=Path, metavar="PRED", help="a label map, or a folder of them")
    parser.add_argument("references", type=Path, metavar="REF", help="a label map, a folder of them (matched by name), "
                        "or a manifest")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder for the tables")
    parser.add_argument("--against", type=Path, metavar="PRED2",
                        help="another model's predictions of the same cases, to compare with")
    parser.add_argument("--names", type=name_list, metavar="A,B",
                        help="the models' names in the report (default: their folders' names)")
    parser.add_argument("--label-space", metavar="NAME|FILE",
                        help="the organs that the label values mean, unless a manifest or a table beside them says it "
                             "(default: word16)")
    parser.add_argument("--organs", metavar="A,B",
                        help="score only these organs (default: all that the references annotate)")
    partial = parser.add_mutually_exclusive_group()
    partial.add_argument("--annotated", type=organs_or_all, default=(), metavar="A,B|all",
                         help="the references annotate only these organs, or all (default: all, unless they show fewer "
                              "than half of them)")
    partial.add_argument("--scribble", action="store_true",
                         help="the references are scribbles: 255 where nothing was drawn")
    parser.add_argument("--images", type=Path, metavar="CT",
                        help="the CT, or a folder of CTs, to show below the labels")
    parser.add_argument("--tolerance-mm", type=positive("millimetres"), default=2.0, metavar="MM",
                        help="tolerance of the surface Dice in mm (default: 2)")
    parser.add_argument("--resample", action="store_true",
                        help="resample predictions on another grid to the reference's (nearest voxel)")
    parser.add_argument("--worst", type=int, default=10, metavar="N",
                        help="how many of the worst cases the report shows as pictures (default: 10)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier evaluation")
    add_common_options(parser)


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Scores every case, writes the tables and the report, and prints the summary. 1 if a case could not be scored."""
    from ..datasets.manifest import load_label_space
    from ..evaluation.evaluation import Options, evaluate
    from ..evaluation.pairing import predictions, references, report_numbers
    from ..evaluation.report import FILES, Report
    from ..evaluation.tables import figure_table
    from ..formats.writing import format_table

    if arguments.worst < 0:
        raise UsageError(code=Code.VALUE_OUT_OF_RANGE, subject="--worst", expected="a number from 0 on",
                         found=arguments.worst)
    try:
        space = load_label_space(arguments.label_space or _DEFAULT_SPACE, Path())
    except UserError as error:
        raise error.within("--label-space") from None
    # A manifest states its own label space, which then counts in place of --label-space.
    cases, space = references(arguments.references, space, arguments.annotated, arguments.scribble, arguments.images,
                              reporter)
    names = _names(arguments)
    folders = [path for path in (arguments.predictions, arguments.against) if path is not None]
    predicted = [predictions(path, cases, reporter) for path in folders]
    if arguments.label_space is None:
        # What a manifest lists it explains.
        listed = [case.label for case in cases if case.own_names and case.label is not None]
        report_numbers([*listed, *(file for files in predicted for file in files.values())], space, reporter)
    output = writable_folder(arguments.output)
    refuse_existing([output / name for name in FILES.values()], arguments.overwrite)
    organs = chosen_organs(arguments.organs, space)
    reporter.started(command="evaluate", predictions=arguments.predictions, references=arguments.references,
                     against=arguments.against, output=output)
    options = Options(arguments.tolerance_mm, None if organs is None else tuple(organs), arguments.resample,
                      arguments.worst)
    results = {name: evaluate(cases, files, space, options, reporter)
               for name, files in zip(names, predicted, strict=True)}
    reporter.close()
    # An empty report would look as if everything had been scored.
    if not any(result.scores for result in results.values()):
        raise UserError(code=Code.NO_CASES, subject=arguments.predictions,
                        expected="at least one case that can be scored", found="none")
    missing = {}
    for name, files in zip(names, predicted, strict=True):
        missing[name] = [case.name for case in cases if case.name not in files]
    report = Report(str(arguments.references), results, missing, options)
    with all_at_once(output) as scratch:
        report.write({kind: scratch / name for kind, name in FILES.items()})
    for name, rows in report.rows.items():
        print(one_line(name), format_table(figure_table(rows)), sep="\n")
    failed = {name: result.failures for name, result in results.items() if result.failures}
    reporter.result(files={kind: output / name for kind, name in FILES.items()}, failed=failed)
    print("\n".join(one_line(f"{kind:<10}{output / name}") for kind, name in FILES.items()), flush=True)
    return int(bool(failed))


def _names(arguments: argparse.Namespace) -> list[str]:
    """The models' names in the report, which differ. Raises UsageError for too many or too few of `--names`."""
    paths: list[Path] = [path for path in (arguments.predictions, arguments.against) if path is not None]
    names: list[str]
    if arguments.names is not None:
        names = arguments.names
        if len(names) != len(paths):
            expected = "a name for PRED"
            if len(paths) == 2:
                expected += " and one for PRED2, with a comma between"
            raise UsageError(code=Code.VALUE_UNFIT, subject="--names", expected=expected, found=", ".join(names))
    else:
        names = [Path(os.path.abspath(path)).name for path in paths]
        # Results of two models often lie in folders of one name, such as a/results and b/results.
        if len(set(names)) < len(names):
            names = [str(path) for path in paths]
    if len(set(names)) < len(names):  # of one folder evaluated twice, or as the user asked
        return ["first", "second"]
    return names
