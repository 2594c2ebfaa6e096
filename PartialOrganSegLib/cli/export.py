"""`partialorganseg export`: a label map as DICOM SEG, RT structure set or NIfTI, with codes and the organs' names."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..errors import Code, UsageError, UserError, one_line
from ..events import Reporter
from ..outputs import all_at_once, refuse_existing, refuse_inputs, writable_folder
from .dicom_kinds import dicom_kinds
from .options import add_common_options, chosen_organs

if TYPE_CHECKING:
    from ..imaging.volume import Volume
    from ..organs import LabelSpace

HELP = ("Write a label map as a DICOM SEG or RT structure set that refers to the CT's DICOM series, or as NIfTI with "
        "the organs' names.")
EXAMPLE = """partialorganseg export scan.labels.nii.gz --reference dicom-folder/ -o results
  partialorganseg export corrected.nii.gz --reference dicom-folder/ --dicom rtstruct --how corrected -o results
  partialorganseg export corrected.nrrd --nifti -o results"""
# To the Segment Algorithm Type of DICOM, PS3.3 C.8.20.2.
HOW = {"automatic": "AUTOMATIC", "corrected": "SEMIAUTOMATIC", "manual": "MANUAL"}
NAMES = ("title", "tg263")
_LABEL_SUFFIXES = (".labels.nii.gz",)  # of our label maps, so that the export of `scan.labels` is called `scan`


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("labels", type=Path, metavar="LABELS", help="a label map on the CT's grid")
    parser.add_argument("--reference", type=Path, metavar="DICOM",
                        help="the CT: a DICOM folder, or a multi-frame file (not needed for NIfTI alone)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder for the results")
    parser.add_argument("--name", type=_file_name, metavar="NAME",
                        help="what the files are called (default: as LABELS)")
    parser.add_argument("--dicom", type=dicom_kinds, metavar="A,B",
                        help="what to write: seg, labelmap-seg, rtstruct (default: seg,rtstruct, or none with --nifti)")
    parser.add_argument("--nifti", action="store_true",
                        help="write the label map as NIfTI, beside it a table of values, names and codes (.csv)")
    parser.add_argument("--names", choices=list(NAMES), default="title",
                        help="what segments are called: as people read it, or as AAPM's TG-263 has it (RT structure "
                             "sets always have those; default: title)")
    parser.add_argument("--of", type=Path, metavar="CT",
                        help="the CT that the labels were made on, all of the series or a part of it; a DICOM series "
                             "with other voxels is refused, and labels of a CT that was moved go back to its place")
    parser.add_argument("--series", help="which DICOM series: its number in the list, UID or description")
    parser.add_argument("--organs", metavar="A,B", help="only these organs (default: all of the label space)")
    parser.add_argument("--label-space", default="word16", metavar="NAME|FILE",
                        help="the organs that the label values mean (default: word16)")
    parser.add_argument("--how", choices=list(HOW), default="automatic",
                        help="how the labels came about (default: automatic)")
    parser.add_argument("--made-by", type=_name, default="PartialOrganSeg", metavar="NAME",
                        help="the model, program or person that made the labels (default: PartialOrganSeg)")
    parser.add_argument("--absent-organs", action="store_true",
                        help="also name organs without a voxel (default: they are left out)")
    parser.add_argument("--resample", action="store_true",
                        help="resample labels on another grid to the CT's (nearest voxel)")
    parser.add_argument("--overwrite", action="store_true", help="replace results of an earlier run")
    add_common_options(parser)


def _name(text: str) -> str:
    if not text.strip() or len(text) > 64 or "\\" in text or not text.isprintable():  # DICOM's LO, PS3.5 6.2
        raise argparse.ArgumentTypeError(f"expected 1 to 64 characters without a backslash, found '{text}'")
    return text


def _file_name(text: str) -> str:
    if not text.strip(" .") or any(letter in text for letter in '/\\:*?"<>|') or not text.isprintable():
        raise argparse.ArgumentTypeError(f"expected a file's name without a folder, found '{text}'")
    return text


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Writes all of the files that can be written; what keeps another one from it is raised after that."""
    from ..datasets.manifest import load_label_space
    from ..formats.dicom_export import ENDINGS, DicomNotWrittenError, check_writers, write_dicom
    from ..formats.dicom_source import Maker, read_source
    from ..formats.label_table import NIFTI_ENDINGS, write_nifti
    from ..formats.reading import read_labelmap
    from ..formats.registry import stem_of
    from ..formats.same_ct import place_in_series

    kinds = _dicom_kinds_of(arguments)
    check_writers(kinds)
    try:
        space = load_label_space(arguments.label_space, Path())
    except UserError as error:
        raise error.within("--label-space") from None
    names = chosen_organs(arguments.organs, space) or space.names
    organs = [space.organ(organ) for organ in names]
    output = writable_folder(arguments.output)
    if arguments.labels.name.lower().endswith(".seg.nrrd"):
        raise UserError(code=Code.WRONG_FORMAT, subject=arguments.labels, expected="a label map",
                        found="a segmentation of 3D Slicer, which numbers its segments itself",
                        hint="in Slicer, export it to a label map or to DICOM")
    name = arguments.name or stem_of(arguments.labels, also=_LABEL_SUFFIXES)
    endings = {kind: ENDINGS[kind] for kind in kinds}
    if arguments.nifti:
        endings |= NIFTI_ENDINGS
    files = {kind: output / (name + ending) for kind, ending in endings.items()}
    # The label map, as somebody may have corrected it by hand, is nothing that an earlier run left.
    refuse_inputs(files.values(), [arguments.labels])
    refuse_existing(list(files.values()), arguments.overwrite)
    reporter.started(command="export", input=arguments.labels, reference=arguments.reference, output=output)
    labels = read_labelmap(arguments.labels, reporter)
    _refuse_unknown_values(arguments.labels, labels, space)
    failure: DicomNotWrittenError | None = None
    with all_at_once(output) as scratch:
        written = {kind: scratch / path.name for kind, path in files.items()}
        if arguments.nifti:
            write_nifti(written, labels, organs)
        if kinds:
            source = read_source(arguments.reference, arguments.series, reporter)
            if arguments.of is not None:
                labels = place_in_series(labels, arguments.of, arguments.reference, arguments.series, reporter)
            maker = Maker(arguments.made_by, __version__, HOW[arguments.how])
            try:
                write_dicom(written, labels, source, organs, maker, arguments.resample, arguments.absent_organs,
                            tg263=arguments.names == "tg263")
            except DicomNotWrittenError as error:  # of one kind of file, which takes none of the others with it
                failure = DicomNotWrittenError(error.problem.with_text(str(scratch), str(output)))
                files = {kind: path for kind, path in files.items() if written[kind].is_file()}
    reporter.close()
    reporter.result(input=arguments.labels, files=files)
    if files:
        print("\n".join(one_line(f"{kind:<13}{path}") for kind, path in files.items()), flush=True)
    if failure is not None:
        raise failure
    return 0


def _dicom_kinds_of(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Which DICOM files to write. Raises UsageError where these have no series to refer to."""
    kinds: tuple[str, ...] = ("seg", "rtstruct")
    if arguments.dicom is not None:
        kinds = arguments.dicom
    elif arguments.nifti:
        kinds = ()
    if kinds and arguments.reference is None:
        raise UsageError(code=Code.SETTING_MISSING, subject="--reference",
                         expected=f"the CT's DICOM series, which {' and '.join(kinds)} refer to", found="none",
                         hint="--nifti alone needs none")
    return kinds


def _refuse_unknown_values(path: Path, labels: Volume, space: LabelSpace) -> None:
    """A value without an organ would vanish from the export without a word."""
    highest = int(labels.array.max(initial=0))
    if highest >= space.class_count:
        raise UserError(code=Code.UNKNOWN_LABEL, subject=path, expected=f"values up to {space.class_count - 1} "
                        f"({space.name})", found=highest)
