"""The files of a result: what each kind is called, and which kind a file's name asks for."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ..errors import Code, Problem, UsageError, UserError
from ..events import Reporter
from ..formats.dicom_export import ENDINGS as DICOM_ENDINGS
from ..formats.registry import stem_of, written_suffixes
from ..formats.volume_table import LABELS_ENDING, TABLE_ENDING
from ..real_paths import real_path

ENDINGS = {"labelmap": LABELS_ENDING, "segmentation": ".seg.nrrd", "table": TABLE_ENDING, "preview": ".preview.png"}
# What a correction by strokes keeps of the labels that it changed.
OF_CORRECTIONS = {"before": ".before.labels.nii.gz", "changes": ".changes.csv"}
EARLIER_STROKES = ".before.scribble.nii.gz"  # those of the corrections before it
# Of one file: the first that fits counts, and after these every format of label maps. A plain `.dcm` is a DICOM SEG.
_KINDS = {".seg.nrrd": "segmentation", **{ending: kind for kind, ending in DICOM_ENDINGS.items()}, ".dcm": "seg"}
_ONE_RUN_S = 60.0  # seconds that one run may take to write all files of a result
# What looks like the ending of a file: letters alone, so that `results.v2` and `run.2024` are folders.
_ENDING = re.compile(r"\.[A-Za-z]{2,5}(\.gz)?$")


def result_files(folder: Path, name: str, preview: bool, dicom: Collection[str] = ()) -> dict[str, Path]:
    """Kind of result to its file in `folder`, for a CT called `name`."""
    files = {kind: folder / (name + ending) for kind, ending in ENDINGS.items() if preview or kind != "preview"}
    return files | {kind: folder / (name + DICOM_ENDINGS[kind]) for kind in dicom}


def earlier_of_other_kinds(files: Mapping[str, Path], folder: Path, name: str) -> list[tuple[Path, bool]]:
    """Files of an earlier result of that name whose kinds are not among those that will be written, each with whether
    it is somebody else's or was changed later than all that will be replaced. Empty where nothing will be replaced."""
    # Where nothing is replaced, other files of that name are of no earlier result of ours.
    replaced = [path.stat().st_mtime for path in files.values() if os.path.isfile(path)]
    if not replaced:
        return []
    candidates = result_files(folder, name, preview=True, dicom=tuple(DICOM_ENDINGS))
    candidates |= {kind: folder / (name + ending) for kind, ending in OF_CORRECTIONS.items()}
    of_other_kinds = [path for kind, path in candidates.items() if kind not in files and os.path.isfile(path)]
    earlier = []
    for path in of_other_kinds:
        changed_later = path.stat().st_mtime > max(replaced) + _ONE_RUN_S
        earlier.append((path, changed_later or not _is_ours(path)))
    return earlier


def remove_earlier(earlier: Sequence[tuple[Path, bool]], reporter: Reporter | None) -> None:
    """Removes what `earlier_of_other_kinds` gave; what is not ours stays, with a warning."""
    for file, is_not_ours in earlier:
        if not is_not_ours:
            file.unlink(missing_ok=True)
        elif reporter is not None and os.path.exists(file):
            reporter.warning(Problem(Code.FILE_EXISTS, str(file), hint="it stays, and shows another segmentation",
                                     found="a file of an earlier result that was changed since, or is not ours"))


def _is_ours(path: Path) -> bool:
    """Whether a file is a result of this library: a clinic's own structure set may bear the same name."""
    if path.suffix.lower() != ".dcm":
        return True
    from ..formats.dicom_reading import read_header
    from ..formats.dicom_source import MANUFACTURER

    try:
        header = read_header(path, only=["Manufacturer"])
    except UserError:
        return False
    return bool(header.get("Manufacturer") == MANUFACTURER)


def single_kind(output: Path | str) -> str | None:
    """The kind of result that one file of that name holds; None where `output` names a folder.

    A folder is one that is there, that is written with a slash at its end, or that has no file's ending. Raises
    UsageError for an unknown ending.

    >>> single_kind("seg.nii.gz"), single_kind("scan.seg.nrrd"), single_kind("seg.dcm"), single_kind("results")
    ('labelmap', 'segmentation', 'seg', None)
    """
    text, path = str(output), Path(output)
    if os.path.isdir(path) or text.endswith(("/", "\\")) or not path.suffix:
        return None
    kinds = _KINDS | {ending: "labelmap" for ending in written_suffixes() if ending not in _KINDS}
    for ending, kind in kinds.items():
        if path.name.lower().endswith(ending) and len(path.name) > len(ending):
            return kind
    if _ENDING.search(path.name) and not path.name.startswith("."):
        raise UsageError(code=Code.NAME_UNFIT, subject=output,
                         expected="a folder or a file ending in .nii.gz, .nrrd, .seg.nrrd or .dcm",
                         found=f"'{path.suffix}'", hint="for a folder of that name make it first")
    return None


def target_files(target: Path | str, name: str, preview: bool, dicom: Collection[str] = (),
                 ct: Path | None = None) -> dict[str, Path]:
    """Kind of result to its file, where `target` is a folder or one file. Raises UserError for an unknown ending, and
    where it would be written over the `ct` itself."""
    kind = single_kind(target)
    if kind is None:
        return result_files(Path(target), name, preview, dicom)
    if ct is not None and real_path(target) == real_path(ct):
        raise UserError(code=Code.FILE_EXISTS, subject=target, expected="another file than the CT's", found="the CT")
    return {kind: Path(target)}


def result_name(path: Path) -> str:
    """What a CT's results are called: its file's name without the ending, or its folder's.

    The name is the user's: of a link, its own and not its target's, which may be a key of git-annex or DataLad.

    >>> result_name(Path("cts/scan 1.nii.gz"))
    'scan 1'
    """
    return stem_of(Path(os.path.abspath(path))) or "ct"  # "." and ".." have no name of their own
