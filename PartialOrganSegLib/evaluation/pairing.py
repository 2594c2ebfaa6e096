"""Which prediction belongs to which reference: by file, by name in two folders, or by the cases of a manifest."""

from __future__ import annotations

import itertools
import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..annotation import Kind
from ..datasets.case import Case
from ..datasets.case_names import name_with_folder, without_channel
from ..datasets.dataset_folder import is_dataset_folder
from ..datasets.manifest import load_manifest
from ..datasets.own_names import read_named_labels, says_its_organs
from ..errors import Code, Problem, UserError, did_you_mean
from ..events import Reporter
from ..formats.folder_files import files_below
from ..formats.registry import is_volume_name, stem_of, volume_suffixes
from ..formats.slicer_segmentation import SlicerSegmentation
from ..organs import LabelSpace
from ..real_paths import real_path

MANIFEST_SUFFIXES = (".yaml", ".yml", ".json")
ALL = "all"  # as `annotated`: the references are complete, however few organs they show
_LOOKED_AT = 10_000  # files below a folder that lacks label maps, at most: it may be an archive
# What tools and people put behind a case's name.
SCRIBBLE_ENDING = ".scribble"
LABEL_ENDINGS = (".labels", SCRIBBLE_ENDING, "_labels", "_label", "_scribble", "_segmentation", "_seg", "_gt")


def references(path: Path, space: LabelSpace, annotated: Sequence[str], scribble: bool, images: Path | None,
               reporter: Reporter) -> tuple[list[Case], LabelSpace]:
    """The reference cases that `path` stands for, and what their values mean.

    A manifest says itself what its cases vouch for; label files are full, partial with `annotated` organs (also where
    they show less than half of them), or scribbles (255 not drawn). `images`: the CT of a reference file, or a folder
    of CTs of the same names; without one the reference stands in for the CT. Raises UserError.
    """
    if path.suffix.lower() in MANIFEST_SUFFIXES or is_dataset_folder(path):
        if annotated or scribble or images is not None:
            raise UserError(code=Code.SETTINGS_CONFLICT, subject=path,
                            expected="neither --annotated, --scribble nor --images, the manifest says what its cases "
                                     "are")
        manifest = load_manifest(path, reporter)
        cases = [case for case in manifest.cases if case.kind is not Kind.UNLABELLED]
        if not cases:
            raise UserError(code=Code.NO_LABELS, subject=path, expected="cases with labels or strokes", found="none")
        return cases, manifest.label_space
    kind = Kind.FULL
    if scribble:
        kind = Kind.SCRIBBLE
    elif annotated:
        kind = Kind.PARTIAL
    labels = label_files(path, scribble)
    cts: dict[str, Path] = {}
    if images is not None:
        cts = label_files(images, of_cts=True)
        # Two files that were named are a pair, whatever their names.
        if os.path.isfile(images) and len(labels) == 1:
            cts = dict(zip(labels, cts.values(), strict=True))
        cts = _cts_of(labels, cts, images, reporter)
    everything = list(annotated) == [ALL]
    organs: tuple[str, ...] = ()
    if everything:
        kind = Kind.FULL
    else:
        organs = tuple(space.organ(name).name for name in annotated)
    if kind is Kind.FULL and not everything:
        organs = _few_organs(labels.values(), space)
    if organs:
        kind = Kind.PARTIAL
    # The user has decided; only where nobody did, what the files show has to.
    if organs and not annotated:
        reporter.warning(Problem(Code.ORGAN_ABSENT, str(path), found=f"only {', '.join(organs)} in the references, so "
                                 "only that is scored", hint=f"--annotated {ALL} if the references are complete"))
    # Values of other organs in such a file are nothing that it vouches for.
    others = tuple(name for name in space.names if organs and name not in organs)
    return [Case(name=name, group=name, dataset=path.name, image=cts.get(name, file), kind=kind, label=file,
                 annotated=organs, ignored=others, own_names=True) for name, file in labels.items()], space


def _cts_of(labels: Iterable[str], cts: Mapping[str, Path], images: Path, reporter: Reporter) -> dict[str, Path]:
    """The CT of each reference that has one. Warns of the others: their pictures are without a CT."""
    called = {without_channel(name): file for name, file in cts.items()} | dict(cts)
    missing = [name for name in labels if name not in called]
    if missing:
        reporter.warning(Problem(Code.CASE_UNPAIRED, str(images), found=f"no CT for {_some(missing)}",
                                 hint="call it as the reference"))
    return {name: called[name] for name in labels if name in called}


def _few_organs(files: Iterable[Path], space: LabelSpace) -> tuple[str, ...]:
    """The organs that label files show, where these are fewer than half of the label space: then the others were hardly
    looked for. Empty where the files show more."""
    values: set[int] = set()
    for file in files:
        try:
            values.update(np.unique(read_named_labels(file, space).array).tolist())
        except UserError:  # it is reported when the case is scored
            continue
        shown = tuple(organ.name for organ in space.organs if organ.index in values)
        if 2 * len(shown) >= len(space.organs):
            return ()
    return tuple(organ.name for organ in space.organs if organ.index in values)


def predictions(path: Path, cases: Sequence[Case], reporter: Reporter) -> dict[str, Path]:
    """Case name to its prediction. Warns of cases without one, of predictions without a case, and of those that may be
    of several cases: none of them gets it. Also of those that are the reference's own file.

    Raises UserError when nothing fits together, and for two predictions of one case.
    """
    files = label_files(path)
    if os.path.isfile(path) and len(cases) == 1:
        _warn_of_own_references({cases[0].name: path}, cases, path, reporter)
        return {cases[0].name: path}
    cases_called = _cases_by_name(cases)
    paired: dict[str, Path] = {}
    unclear: list[Problem] = []
    unused: list[str] = []
    for name, file in files.items():
        # Of CTs that are numbered as nnU-Net does the results are, too.
        called = cases_called.get(name) or cases_called.get(without_channel(name), [])
        if len(called) > 1:
            unclear.append(_unclear(path, file, called, cases_called))
        elif called:
            _pair(called[0].name, file, paired, path)
        else:
            unused.append(file.name)
    if not paired and unclear:
        raise UserError(unclear[0])
    if not paired:
        name = next(iter(files))
        raise UserError(code=Code.UNKNOWN_NAME, subject=path,
                        expected=f"predictions named like the references ({cases[0].name}, ...)", found=f"'{name}'",
                        hint=did_you_mean(name, cases_called))
    # None of these is an error: a study in progress has them.
    for problem in unclear:
        reporter.warning(problem)
    if unused:
        reporter.warning(Problem(Code.CASE_UNPAIRED, str(path), found=f"no reference for {_some(unused)}"))
    missing = [case.name for case in cases if case.name not in paired]
    if missing:
        reporter.warning(Problem(Code.CASE_UNPAIRED, str(path), found=f"no prediction for {_some(missing)}",
                                 hint="counted nowhere"))
    _warn_of_own_references(paired, cases, path, reporter)
    return paired


def _warn_of_own_references(paired: Mapping[str, Path], cases: Sequence[Case], path: Path, reporter: Reporter) -> None:
    """Says of how many predictions the figures are perfect because prediction and reference are one file."""
    labels = {case.name: real_path(case.label) for case in cases if case.label is not None}
    same = [name for name, file in paired.items() if real_path(file) == labels.get(name)]
    if same:
        reporter.warning(Problem(Code.SETTINGS_CONFLICT, str(path), "predictions in files of their own",
                                 f"the references themselves ({_some(same)}), so that these figures are perfect and "
                                 "say nothing"))


def _cases_by_name(cases: Sequence[Case]) -> dict[str, list[Case]]:
    """What a prediction may be called, to the cases that it may then be of: as a case is, as its CT, or as `segment`
    calls the results of many CTs that are all called "image"."""
    called: dict[str, list[Case]] = {}
    for case in cases:
        names = (case.name, labelled_name(case.image), name_with_folder(case.image))
        for name in dict.fromkeys(map(_composed, names)):
            called.setdefault(name, []).append(case)
    return called


def _pair(case: str, file: Path, paired: dict[str, Path], path: Path) -> None:
    """Raises UserError where the case has a prediction already: which one is meant, nobody can know."""
    if case in paired:
        raise UserError(code=Code.NAME_TAKEN, subject=path, expected=f"one prediction of case {case}",
                        found=f"{paired[case].name} and {file.name}")
    paired[case] = file


def _unclear(path: Path, file: Path, called: Sequence[Case], cases_called: Mapping[str, Sequence[Case]]) -> Problem:
    """A prediction that may be of several cases: of another patient it would be judged wrongly."""
    # Two cases on one CT differ in the case's name alone.
    names = []
    for case in called:
        with_folder = name_with_folder(case.image)
        names.append(with_folder if len(cases_called[_composed(with_folder)]) == 1 else case.name)
    return Problem(Code.CASE_UNPAIRED, str(path), hint=f"call it {' or '.join(names[:5])}, whichever it is",
                   found=f"{file.name} may be of the cases {_some([case.name for case in called])}, so it is of none")


def report_numbers(files: Iterable[Path], space: LabelSpace, reporter: Reporter) -> None:
    """Warns of label maps of which nothing says what their numbers mean: another model's are scored as others."""
    nameless = [file for file in files if not says_its_organs(file)]
    if nameless:
        numbered = ", ".join(f"{organ.index} {organ.name}" for organ in space.organs[:3])
        further = f" and {len(nameless) - 1} more" if len(nameless) > 1 else ""
        reporter.warning(Problem(Code.UNKNOWN_LABEL, f"{nameless[0]}{further}",
                                 found=f"nothing says what the numbers mean: taken as those of {space.name} "
                                       f"({numbered}, ...)", hint="--label-space NAME|FILE says it"))


def label_files(path: Path, scribble: bool = False, of_cts: bool = False) -> dict[str, Path]:
    """Name to file, for a file or the volume files of a folder, sorted. Raises UserError for two of one name.

    Of labels and the strokes that `refine` writes beside them the labels count, or with `scribble` the strokes. A
    segmentation of 3D Slicer counts where no other file has its name, as in a folder of `segment`; it is never one
    `of_cts`.
    """
    if not os.path.exists(path):
        raise UserError(code=Code.FILE_MISSING, subject=path, expected="a file or a folder", found="nothing there")
    if os.path.isfile(path):
        return {labelled_name(path): path}
    files: dict[str, Path] = {}
    listed = sorted(file for file in path.iterdir() if not file.name.startswith("."))
    for file in filter(is_volume_name, listed):
        name = labelled_name(file)
        if name in files and _is_scribble(files[name]) == _is_scribble(file):
            raise UserError(code=Code.NAME_TAKEN, subject=path, expected="one file for a case",
                            found=f"{files[name].name} and {file.name}", hint="a manifest can say which is the label")
        if name not in files or _is_scribble(file) == scribble:
            files[name] = file
    suffixes = volume_suffixes()
    if not of_cts:
        suffixes = (*suffixes, *SlicerSegmentation.suffixes)
        for file in listed:
            if file.name.lower().endswith(SlicerSegmentation.suffixes) and file.is_file():
                files.setdefault(labelled_name(file), file)
    if not files:
        kind = "CTs" if of_cts else "label maps"
        raise UserError(code=Code.NO_CASES, subject=path, expected=f"{kind} ({', '.join(suffixes)})", found="none",
                        hint=_hint_of_deeper(path))
    return dict(sorted(files.items()))


def _hint_of_deeper(folder: Path) -> str:
    """Where files of volumes lie below a folder; which of them are meant, only the user knows."""
    files = itertools.islice(files_below(folder, lambda error: None), _LOOKED_AT)
    volume = next(filter(is_volume_name, files), None)
    if volume is None:
        return ""
    return f"there is {volume.relative_to(folder)}: name that folder, or put all files into one"


def _is_scribble(path: Path) -> bool:
    return stem_of(path).lower().endswith(SCRIBBLE_ENDING)


def labelled_name(path: Path) -> str:
    """A file's name without its format and without what says that it is a label: `a_label.nii.gz` is case `a`."""
    name = stem_of(path, also=SlicerSegmentation.suffixes)
    for ending in LABEL_ENDINGS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return _composed(name[:-len(ending)])
    return _composed(name)


def _composed(name: str) -> str:
    """Letters with accents as one sign each: macOS writes them as two, and both are one name."""
    return unicodedata.normalize("NFC", name)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    if len(names) <= 5:
        return shown
    return f"{shown} and {len(names) - 5} more"
