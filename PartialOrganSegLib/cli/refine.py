"""`partialorganseg refine`: strokes correct the labels of one CT, in seconds; the model stays as it is."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Code, UsageError
from ..events import Reporter
from ..outputs import writable_folder
from ..segmenting.options import SegmentOptions, check_organ_names
from ..segmenting.result_files import result_name, single_kind, target_files
from .options import add_common_options, add_device_option

if TYPE_CHECKING:
    from ..refining.result import RefineResult

HELP = ("Correct the labels of one CT with strokes: what was drawn is obeyed and spreads to what looks alike around "
        "it. The model learns nothing; see finetune.")
EXAMPLE = """partialorganseg refine scan.nii.gz --strokes strokes.json --labels results/scan.labels.nii.gz -o corrected
  partialorganseg refine scan.nii.gz --undo -o corrected"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ct", type=Path, metavar="CT", help="a NIfTI, NRRD or MetaImage file, or a DICOM folder")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--strokes", type=Path, metavar="FILE", action="append",
                        help="a stroke file (.json), or a label map with 0 for background strokes and 255 where "
                             "nothing is drawn")
    action.add_argument("--undo", action="store_true", help="put the labels back that the latest correction in OUT "
                                                            "replaced")
    action.add_argument("--serve", action="store_true",
                        help="correct on request, with --json-events: a program writes requests to standard input, one "
                             "a line, with files in OUT (see PartialOrganSegLib/refining/serving.py)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT",
                        help="folder for the results, or a file .nii.gz, .nrrd or .seg.nrrd")
    parser.add_argument("--labels", type=Path, metavar="FILE",
                        help="the label map to correct (default: segment the CT first); strokes that an earlier "
                             "correction kept beside it go on counting")
    parser.add_argument("--accepted", metavar="A,B", help="organs that nothing but a stroke on them may change")
    parser.add_argument("--model", default="embedded",
                        help="the model that segments, and whose organs the label values are")
    parser.add_argument("--label-space", metavar="NAME|FILE",
                        help="with --serve: the organs that the label values mean (default: those of the model)")
    parser.add_argument("--series", help="which DICOM series: its number in the list, UID or description")
    parser.add_argument("--force", action="store_true", help="correct what does not look like a CT in HU")
    parser.add_argument("--overwrite", action="store_true", help="replace results of an earlier run; with --undo, "
                                                                 "also labels that were edited since")
    parser.add_argument("--no-preview", action="store_true", help="make no picture")
    add_device_option(parser)
    add_common_options(parser)


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Corrects and writes, or takes a correction back. Prints what each organ gained and lost."""
    _check_together(arguments)
    if arguments.serve:
        return _serve(arguments, reporter)
    kind = single_kind(arguments.output)
    if kind not in (None, "labelmap", "segmentation"):
        raise UsageError(code=Code.NAME_UNFIT, subject=arguments.output,
                         expected="a folder or a file ending in .nii.gz, .nrrd or .seg.nrrd", found=f"one for {kind}")
    options = SegmentOptions(model=arguments.model, device=arguments.device, series=arguments.series,
                             force=arguments.force, preview=not arguments.no_preview, overwrite=arguments.overwrite)
    accepted = check_organ_names(arguments.accepted, "accepted") or ()
    name = result_name(arguments.ct)
    strokes = arguments.strokes[0] if arguments.strokes else None
    if strokes is None:
        target_files(arguments.output, name, options.preview, (), arguments.ct)
    else:
        from ..refining.result import refuse_in_the_way

        refuse_in_the_way(arguments.output, name, options, arguments.ct, strokes)
    reporter.started(command="refine", ct=arguments.ct, strokes=strokes, labels=arguments.labels,
                     output=arguments.output, undo=arguments.undo)
    if arguments.undo:
        return _undo(arguments, options, name, reporter)

    from ..refining.refiner import refine

    result = refine(arguments.ct, arguments.strokes[0], labels=arguments.labels, accepted=accepted, options=options,
                    reporter=reporter)
    files = result.save(arguments.output, name=name, reporter=reporter)
    _report(result, files, reporter)
    return 0


def _check_together(arguments: argparse.Namespace) -> None:
    """Raises UsageError for options of which one would be left out without a word."""
    if arguments.strokes and len(arguments.strokes) > 1:
        raise UsageError(code=Code.SETTINGS_CONFLICT, subject="--strokes", expected="one file",
                         found=f"{len(arguments.strokes)}", hint="correct with one after the other, see --labels")
    if arguments.serve:
        sent = {"--labels": arguments.labels, "--accepted": arguments.accepted}
        for option, value in sent.items():
            if value is not None:
                raise UsageError(code=Code.SETTINGS_CONFLICT, subject=option, expected="it in the requests",
                                 found="it beside --serve")
        if not arguments.json_events:
            raise UsageError(code=Code.SETTINGS_CONFLICT, subject="--serve", found="none",
                             expected="--json-events beside it, as which it answers")
    elif arguments.label_space is not None:
        raise UsageError(code=Code.SETTINGS_CONFLICT, subject="--label-space", expected="it beside --serve alone",
                         found="none", hint="--model says what label values mean")


def _report(result: RefineResult, files: dict[str, Path], reporter: Reporter) -> None:
    seconds = result.segmented.seconds["refine"]
    reporter.close()
    reporter.result(files=files, changes=[change.as_row() for change in result.changes],
                    organs=result.segmented.organ_events, seconds=round(seconds, 2))
    print(f"corrected in {seconds:.1f} s")
    for change in result.changes:
        print(f"  {change.text()}")
    if not result.changes:
        print("  no voxel changed: the labels said the same as the strokes")
    print("\n".join(f"{kind:<13}{path}" for kind, path in files.items()), flush=True)


def _undo(arguments: argparse.Namespace, options: SegmentOptions, name: str, reporter: Reporter) -> int:
    """Puts the kept labels in the place of the corrected ones, with the files that are made of them."""
    if single_kind(arguments.output) is not None or arguments.labels is not None:
        raise UsageError(code=Code.SETTINGS_CONFLICT, subject="--undo", expected="the folder of a correction alone",
                         found="--labels" if arguments.labels is not None else f"the file {arguments.output}")

    from ..refining.refiner import restored
    from ..refining.result import forget_correction, refuse_edited

    result = restored(arguments.ct, arguments.output, name, options, reporter)
    if not options.overwrite:
        refuse_edited(arguments.output, name)
    files = result.save(arguments.output, name=name, overwrite=True, reporter=reporter)
    forget_correction(arguments.output, name)
    reporter.close()
    reporter.result(files=files, organs=result.organ_events)
    print("the latest correction is taken back")
    print("\n".join(f"{kind:<13}{path}" for kind, path in files.items()), flush=True)
    return 0


def _serve(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Reads the CT, says that it is ready, and answers until standard input ends."""
    import numpy as np

    from ..datasets.manifest import load_label_space
    from ..formats.reading import read_ct
    from ..imaging.volume import Volume
    from ..models.ensemble import load_models
    from ..refining.serving import Server, raw_lines
    from ..refining.session import RefineSession

    reporter.started(command="refine", ct=arguments.ct, output=arguments.output, serve=True)
    if arguments.label_space is None:
        space = load_models(arguments.model).label_space
    else:
        space = load_label_space(arguments.label_space, Path())
    folder = writable_folder(arguments.output)
    ct = read_ct(arguments.ct, arguments.series, reporter, arguments.force)
    session = RefineSession(ct, Volume(np.zeros(ct.grid.shape, np.uint8), ct.grid), space)
    reporter.result(ready=True, size=list(ct.grid.size))
    Server(session, folder, reporter).run(raw_lines(0))
    return 0
