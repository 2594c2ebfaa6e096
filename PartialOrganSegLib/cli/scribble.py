"""`partialorganseg scribble`: scribbles simulated from dense label maps, to try out training from scribbles."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..batch.case_list import Entry
from ..batch.cases import named_cases
from ..errors import Code, Problem, UserError, one_line
from ..events import Reporter
from ..outputs import all_at_once, refuse_existing, writable_folder
from .options import add_common_options, chosen_organs, positive, seed_number, whole_number

if TYPE_CHECKING:
    from ..synthesis.simulated_scribbles import Scribble

HELP = ("Simulate scribbles from dense label maps: OUT/NAME.scribble.nii.gz with organ values, 0 where background was "
        "drawn and 255 where nothing was.")
EXAMPLE = "partialorganseg scribble labels/a.nii.gz labels/b.nii.gz -o scribbles --every-mm 30 --seed 1"
SUFFIX = ".scribble.nii.gz"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("labels", nargs="+", type=Path, metavar="LABEL", help="a label map, or a folder of them")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder for the scribbles")
    parser.add_argument("--label-space", default="word16", metavar="NAME|FILE", help="the organs that the label "
                        "values mean (default: word16)")
    parser.add_argument("--organs", metavar="A,B", help="draw only these organs (default: all in the label map)")
    density = parser.add_mutually_exclusive_group()
    density.add_argument("--slices-per-organ", type=whole_number, metavar="N",
                         help="how many axial slices to draw each organ on, evenly spread over it (default: 6)")
    density.add_argument("--every-mm", type=positive("millimetres"), metavar="MM",
                         help="instead, draw all organs on slices at this distance in mm")
    parser.add_argument("--brush-mm", type=positive("millimetres"), default=3.0, metavar="MM",
                        help="width of the strokes in mm (default: 3)")
    parser.add_argument("--no-background", action="store_true",
                        help="draw no background strokes: right if the label maps leave organs out")
    parser.add_argument("--undecided", type=_values, default=(), metavar="VALUE,VALUE",
                        help="values of the label maps of which nobody knows what they are, such as 254: nothing is "
                             "drawn there")
    parser.add_argument("--seed", type=seed_number, default=0, help="the same seed draws the same strokes (default: 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace scribbles of an earlier run")
    add_common_options(parser)


def _values(text: str) -> tuple[int, ...]:
    """Label values from a text like `254,255`."""
    try:
        values = tuple(int(part) for part in text.split(","))
    except ValueError:
        values = (-1,)
    if min(values) < 1:
        raise argparse.ArgumentTypeError(f"expected label values from 1 on, such as 254, found '{text}'")
    return values


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Draws a scribble for each label map and prints how much of each organ was drawn."""
    import numpy as np

    from ..datasets.manifest import load_label_space
    from ..datasets.segment_labels import read_organ_labels
    from ..formats.reading import list_inputs
    from ..formats.writing import format_table, write_labelmap
    from ..synthesis.simulated_scribbles import SLICES_PER_ORGAN, simulate_scribble

    try:
        label_space = load_label_space(arguments.label_space, Path())
    except UserError as error:
        raise error.within("--label-space") from None
    organs = chosen_organs(arguments.organs, label_space)
    # Scribbles of an earlier run in the same folder are no label maps to draw from.
    dense = [path for path in list_inputs(arguments.labels) if not path.name.endswith(SUFFIX)]
    if not dense:
        raise UserError(code=Code.NO_CASES, subject=", ".join(map(str, arguments.labels)),
                        expected="label maps to draw from", found=f"scribbles alone (*{SUFFIX})")
    folder = writable_folder(arguments.output)
    cases = named_cases([Entry(path) for path in dense], reporter)
    refuse_existing([folder / (case.name + SUFFIX) for case in cases], arguments.overwrite)
    reporter.started(command="scribble", labels=[case.path for case in cases], output=folder)
    for value in (value for value in arguments.undecided if value < label_space.class_count):
        reporter.warning(Problem(Code.LABELS_UNDERSTOOD, "--undecided", found=f"{value} is the "
                                 f"{label_space.names[value - 1]} of {label_space.name}: nothing of it is drawn"))
    not_seen = set(arguments.undecided)
    for number, case in enumerate(cases, 1):
        labels = read_organ_labels(case.path, label_space, reporter)
        not_seen.difference_update(np.unique(labels.array).tolist())
        try:
            scribble = simulate_scribble(
                labels, label_space, organs=organs, slices_per_organ=arguments.slices_per_organ or SLICES_PER_ORGAN,
                every_mm=arguments.every_mm, brush_mm=arguments.brush_mm, background=not arguments.no_background,
                seed=arguments.seed, undecided=arguments.undecided)
        except UserError as error:
            raise error.within(case.path) from None
        # An organ that was asked for and is not in this label map is no error: not every CT shows every organ.
        drawn_organs = {count.name for count in scribble.counts}
        absent = [name for name in organs or () if name not in drawn_organs]
        if absent:
            reporter.warning(Problem(Code.ORGAN_ABSENT, str(case.path), found=f"no voxel of {', '.join(absent)}"))
        target = folder / (case.name + SUFFIX)
        with all_at_once(folder) as scratch:
            write_labelmap(scratch / target.name, scribble.labels)
        reporter.progress("scribbles", number, len(cases))
        reporter.close()
        reporter.result(labels=case.path, scribble=target, share=scribble.share,
                        organs=[asdict(count) for count in scribble.counts])
        drawn = f"{target}: {scribble.share:.2%} of the organs' voxels drawn"
        print(one_line(drawn), format_table(_rows(scribble)), sep="\n", flush=True)
    if not_seen:
        reporter.warning(Problem(Code.UNKNOWN_LABEL, "--undecided", "values of the label maps",
                                 f"{', '.join(map(str, sorted(not_seen)))}, which none of them has"))
    return 0


def _rows(scribble: Scribble) -> list[dict[str, object]]:
    """A row of the printed table for each class."""
    rows: list[dict[str, object]] = []
    for count in scribble.counts:
        share = ""
        if count.of_voxels:
            share = f"{count.voxels / count.of_voxels:.2%}"
        rows.append({"organ": count.name, "slices": count.slices, "strokes": count.strokes, "voxels": count.voxels,
                     "of its voxels": share})
    return rows
