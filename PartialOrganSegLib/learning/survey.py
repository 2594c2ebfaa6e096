"""What lies in a folder: CTs, label maps, strokes, structures in DICOM, manifests. Files are known by their content."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from ..datasets.dataset_folder import DESCRIPTION
from ..datasets.manifest import MANIFEST_NAMES
from ..datasets.own_names import ROUNDED, volumes_of
from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..formats.checks import doubtful_ct
from ..formats.dicom_slices import looks_like_dicom, read_slices
from ..formats.drawn_structures import DrawnStructures, read_structures
from ..formats.reading import read_ct, read_labelmap
from ..formats.registry import ImageFormat, format_of, is_volume_name
from ..formats.slicer_segmentation import is_segmentation, segments_of
from ..formats.strokes import FORMAT_NAME, NOT_DRAWN, Strokes, read_strokes
from ..formats.volume_table import read_volumes
from ..imaging.volume import Grid, Volume
from ..json_file import read_json
from ..real_paths import real_path
from ..segmenting.result_files import EARLIER_STROKES, ENDINGS, OF_CORRECTIONS
from .series import CtImage, cts_of_folder

STATE_FILE = "learn.json"  # of an earlier `learn`: its folder holds results, nothing that was drawn
# What shows that a folder is somebody's work of another kind: a fine-tuning run, a model.
_OF_PROGRAMS = ("plan.json", os.path.join("configs", "metadata.json"), STATE_FILE)
_ONE_RUN_S = 60.0  # seconds between the files of one result of `segment`
_SILENT = Reporter()


class Form(str, Enum):
    """How something was drawn."""

    LABELS = "label map"
    SCRIBBLES = "scribble map"
    SEGMENTS = "segmentation of Slicer"
    STROKES = "strokes"
    STRUCTURES = "structures in DICOM"


@dataclass(frozen=True, eq=False)
class Drawing:
    """A file in which something is drawn. `values`: those that occur in a label map, without 0 and "not drawn"."""

    path: Path
    form: Form
    grid: Grid | None = None
    values: tuple[int, ...] = ()
    strokes: Strokes | None = None
    structures: DrawnStructures | None = None


@dataclass
class Survey:
    """All that was noticed in `folder`, sorted by path. `left_out`: files that count as nothing, and why.

    `manifests`: manifests, and folders with a dataset.json, which say themselves what belongs together.
    `unused_patterns`: such of what to leave out that nothing is called.
    """

    folder: Path
    cts: list[CtImage] = field(default_factory=list)
    drawings: list[Drawing] = field(default_factory=list)
    manifests: list[Path] = field(default_factory=list)
    left_out: list[Problem] = field(default_factory=list)
    unused_patterns: list[str] = field(default_factory=list)


@dataclass
class _LeftOut:
    """Files and folders in `folder` that do not count. `used`: the patterns that something was called by."""

    folder: Path
    patterns: Sequence[str]
    used: set[str] = field(default_factory=set)

    def holds(self, path: Path) -> bool:
        """Whether any of the patterns is for its name or its path in the folder."""
        relative = path.relative_to(self.folder).as_posix()
        fitting = [pattern for pattern in self.patterns
                   if fnmatch(path.name, pattern) or fnmatch(relative, pattern)]
        self.used.update(fitting)
        return bool(fitting)


def survey(folder: Path, leave_out: Sequence[str] = (), output: Path | None = None,
           reporter: Reporter = _SILENT) -> Survey:
    """Looks at every file in a folder and below it, but not at `output`, where results go. `leave_out`: patterns of
    names or relative paths.

    Hidden files, runs, models and results of this program do not count. Raises UserError for what is no folder.
    """
    require_folder(folder)
    result = Survey(folder)
    left_out = _LeftOut(folder, leave_out)
    folders = list(_folders(folder, left_out, output))
    for number, (place, files) in enumerate(folders, 1):
        if _is_dataset(place):
            result.manifests.append(place)
            continue
        manifests = [file for file in files if file.name in MANIFEST_NAMES]
        # A manifest speaks for its folder, the panel's for one: what it lists need not be guessed again.
        if manifests:
            result.manifests += manifests
            continue
        _look_into(place, files, left_out, result)
        reporter.progress("looking at the folder", number, len(folders))
    result.unused_patterns = [pattern for pattern in leave_out if pattern not in left_out.used]
    return result


def require_folder(folder: Path) -> None:
    """Raises UserError for what is no folder."""
    if not folder.is_dir():
        obstacle = "a file" if folder.exists() else "nothing there"
        raise UserError(code=Code.FILE_MISSING, subject=folder, expected="a folder with CTs", found=obstacle)


def _folders(folder: Path, left_out: _LeftOut, output: Path | None) -> Iterator[tuple[Path, list[Path]]]:
    """Every folder with its files, top first; below a manifest or data set nothing is looked at.

    A linked folder is entered once, whatever leads to it, and never one that holds `folder` itself.
    """
    real = real_path(folder)
    entered = {real, *real.parents}
    for place, names, files in os.walk(folder, followlinks=True):
        path = Path(place)
        below = []
        for name in sorted(names):
            unfit = left_out.holds(path / name) or name.startswith(".") or _is_work(path / name, output)
            target = real_path(path / name)
            if not unfit and target not in entered:
                entered.add(target)
                below.append(name)
        # What is left in the list is walked into.
        names[:] = below
        if any(file in MANIFEST_NAMES for file in files) or _is_dataset(path):
            names.clear()
        # A pipe among them would be waited for without end.
        listed = [path / file for file in sorted(files) if not file.startswith(".") and os.path.isfile(path / file)]
        yield path, [file for file in listed if not left_out.holds(file)]


def _is_dataset(place: Path) -> bool:
    """Whether a folder is a data set with a dataset.json, and not one in which a table of that name lies."""
    if not (place / DESCRIPTION).is_file():
        return False
    if (place / "imagesTr").is_dir():
        return True
    try:
        content = read_json(place / DESCRIPTION, "a data set")
    except UserError:
        return False
    return isinstance(content, dict) and any(isinstance(content.get(key), kind) and bool(content[key])
                                             for key, kind in (("dataset", dict), ("training", list)))


def _is_work(path: Path, output: Path | None) -> bool:
    if output is not None and output.exists() and path.samefile(output):
        return True
    return any((path / name).exists() for name in _OF_PROGRAMS)


def _look_into(place: Path, files: Sequence[Path], left_out: _LeftOut, result: Survey) -> None:
    """Adds what the files of one folder are; slices of a DICOM series are one CT together."""
    images: list[Path] = []
    for file in files:
        try:
            if is_volume_name(file) or is_segmentation(file):
                _look_at_volume(file, result)
            elif file.suffix.lower() == ".json":
                _look_at_json(file, result)
            elif looks_like_dicom(file):
                structures = read_structures(file)
                if structures is None:
                    images.append(file)
                else:
                    result.drawings.append(Drawing(file, Form.STRUCTURES, structures=structures))
        except UserError as error:
            result.left_out.append(error.problem)
        except OSError as error:
            result.left_out.append(Problem(Code.NOT_READABLE, str(file), "a file that can be read",
                                           error.strerror or str(error)))
    # A report beside the folders of CTs is no series.
    if any(map(_is_image, images)):
        cts, problems = cts_of_folder(place, images)
        # One of several series is left out by what a folder of its own would be called, too.
        result.cts += [ct for ct in cts if not (ct.slices and left_out.holds(ct.path))]
        result.left_out += problems


def _look_at_volume(file: Path, result: Survey) -> None:
    if _is_of_before_a_correction(file):
        result.left_out.append(Problem(Code.CASE_SKIPPED, str(file), found="of before a correction"))
        return
    if is_segmentation(file):
        labels = read_labelmap(file, segmentations=True)
        if _is_untouched_result(file, labels):
            result.left_out.append(Problem(Code.CASE_SKIPPED, str(file), found="a result of a model, not drawn"))
            return
        result.drawings.append(Drawing(file, Form.SEGMENTS, labels.grid, _values(labels)))
        return
    if not isinstance(format_of(file), ImageFormat):
        return
    try:
        labels = read_labelmap(file)
        present = np.unique(labels.array)
        # A CT that was stored with 1024 added has no negative number either, but thousands of different ones.
        is_label_map = int(present[-1]) <= NOT_DRAWN and len(present) <= NOT_DRAWN
    except UserError:
        is_label_map = False
    if not is_label_map:
        ct = read_ct(file, force=True)
        reason = doubtful_ct(ct.array)
        if reason is not None:
            raise UserError(code=Code.NOT_A_CT, subject=file, expected="a CT in HU or a label map", found=reason)
        result.cts.append(CtImage(file, ct.grid))
        return
    if _is_untouched_result(file, labels):
        result.left_out.append(Problem(Code.CASE_SKIPPED, str(file), found="a result of a model, not drawn"))
        return
    form, values = Form.LABELS, _values(labels)
    if int(present[-1]) == NOT_DRAWN:
        # Image programs write masks of 0 and 255; strokes of nothing but the background nobody draws.
        form = Form.SCRIBBLES
        if not values:
            form, values = Form.LABELS, (NOT_DRAWN,)
    result.drawings.append(Drawing(file, form, labels.grid, values))


def _is_of_before_a_correction(file: Path) -> bool:
    """Whether `refine` keeps in the file what it corrected in the labels beside it: what was wrong teaches nothing."""
    for ending in (OF_CORRECTIONS["before"], EARLIER_STROKES):
        name = file.name.removesuffix(ending)
        if name != file.name and file.with_name(name + ENDINGS["labelmap"]).is_file():
            return True
    return False


def _values(labels: Volume) -> tuple[int, ...]:
    present = np.unique(labels.array).tolist()
    return tuple(int(value) for value in present if value not in (0, NOT_DRAWN))


def _is_untouched_result(file: Path, labels: Volume) -> bool:
    """Whether `segment` wrote the file and nobody changed it since: to learn from that teaches a model its own faults.

    Then it is as old as the table that was written with it, and has the organs' volumes that stand there: a copy of
    both, one of them corrected, may be of one time.
    """
    # What a person accepted in the panel is a label, whoever wrote the file first.
    if any(segment.state for segment in segments_of(file)):
        return False
    table = volumes_of(file)
    if not table.is_file() or file.stat().st_mtime > table.stat().st_mtime + _ONE_RUN_S:
        return False
    counts = np.unique(labels.array[labels.array > 0], return_counts=True)[1]
    volumes = sorted(counts * labels.grid.voxel_ml)
    written = sorted(ml for ml in read_volumes(table).values() if ml > 0)
    return len(volumes) == len(written) and np.allclose(volumes, written, rtol=ROUNDED, atol=0)


def _look_at_json(file: Path, result: Survey) -> None:
    with open(file, encoding="utf-8", errors="replace") as stream:
        beginning = stream.read(4096)
    # Tables and notes are JSON too, and no business of ours.
    if FORMAT_NAME not in beginning:
        return
    result.drawings.append(Drawing(file, Form.STROKES, strokes=read_strokes(file)))


def _is_image(file: Path) -> bool:
    """Whether a DICOM file has pixels in space. A damaged one may."""
    try:
        return bool(read_slices(file))
    except UserError:
        return True
