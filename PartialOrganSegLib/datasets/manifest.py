"""The manifest: the images of a training run and what their labels mean. Read here, checked by `check_manifest`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from ..annotation import Kind
from ..errors import Code, Problem, UserError, did_you_mean
from ..events import Reporter
from ..formats.registry import stem_of
from ..formats.strokes_image import SAYS_NOTHING
from ..label_space_file import LabelSpaceEntry
from ..organs import LABEL_SPACES, WORD16, LabelSpace, label_space_of_names
from ..real_paths import real_path
from ..yaml_file import read_yaml
from .case import Case, Manifest
from .case_names import case_names, name_with_folder
from .checking import check_manifest
from .dataset_folder import DESCRIPTION, is_dataset_folder, read_dataset_folder
from .manifest_file import CaseEntry, DatasetEntry, Splits, expand, parse_manifest
from .meaning import LabelMeaning, meaning_of
from .patients import with_patients_together
from .visits import possible_visits

__all__ = ["Case", "Manifest", "check_manifest", "load_label_space", "load_manifest"]

MANIFEST_NAMES = ("manifest.yaml", "manifest.yml")  # what it is called in a folder that it speaks for
_LABEL_SPACE_FILES = (".yaml", ".yml", ".json")
LONGEST_NAME = 200  # bytes of a case's name in UTF-8: file systems take 255, and files of a case have endings
_SILENT = Reporter()


def load_manifest(path: Path | str, reporter: Reporter = _SILENT) -> Manifest:
    """Reads a manifest, or an nnU-Net raw or Decathlon folder in the label space of WORD's sixteen organs.

    How the labels of such folders were understood is reported as warnings. Raises UserError naming the key and what
    was found; the images and labels themselves are read by `check_manifest`.
    """
    path = Path(path)
    if is_dataset_folder(path):
        if path.name != DESCRIPTION:
            path = path / DESCRIPTION
        name = Path(os.path.abspath(path)).parent.name
        dataset = _folder(DatasetEntry(name=name, folder="."), path, WORD16, reporter)
        return _manifest(path, WORD16, [dataset], Splits(), reporter)
    if path.is_dir():
        inside = next((path / name for name in MANIFEST_NAMES if (path / name).is_file()), None)
        raise UserError(code=Code.FILE_MISSING, subject=path,
                        expected=f"a manifest file, or a folder with a {DESCRIPTION} (nnU-Net raw, Decathlon)",
                        found="neither" if inside is None else f"a folder with {inside.name}",
                        hint="" if inside is None else f"name the file: {inside}")
    content = parse_manifest(path, read_yaml(path, "manifest"))
    try:
        label_space = load_label_space(content.label_space, path.parent)
        if content.new_organs:
            label_space = label_space_of_names(f"{label_space.name}+{len(content.new_organs)}",
                                               [*label_space.names, *content.new_organs])
    except UserError as error:
        raise error.within(f"{path}: label_space") from None
    datasets = [_folder(dataset, path, label_space, reporter) if dataset.folder else dataset
                for dataset in content.datasets]
    return _manifest(path, label_space, datasets, content.splits, reporter)


def load_label_space(setting: str | Sequence[str], folder: Path) -> LabelSpace:
    """A label space by its registered name, as a list of organ names, or from a file in `folder`.

    The file holds a list of names, `{organs: [names]}` as those of the library, or a label space as in a bundle's
    metadata: `{name, organs: [{index, name, code, colour}]}`. Raises UserError.
    """
    if not isinstance(setting, str):
        return label_space_of_names("own", setting)
    if setting in LABEL_SPACES:
        return LABEL_SPACES[setting]
    if not setting.lower().endswith(_LABEL_SPACE_FILES):
        raise UserError(code=Code.UNKNOWN_NAME, expected=f"one of {', '.join(LABEL_SPACES)}, a list of names or a file",
                        found=f"'{setting}'", hint=did_you_mean(setting, LABEL_SPACES))
    file = folder / setting
    content = read_yaml(file, "label space")
    names = content
    if isinstance(content, dict):
        names = content.get("organs")
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return label_space_of_names(file.stem, names)
    try:
        return LabelSpaceEntry.model_validate(content).label_space()
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(code=Code.VALUE_UNFIT,
                        subject=f"{file}: {'.'.join(map(str, first['loc'])) or 'label space'}",
                        found=first["msg"]) from None


def _folder(dataset: DatasetEntry, path: Path, label_space: LabelSpace, reporter: Reporter) -> DatasetEntry:
    """A foreign folder's entry; what the manifest says of kind, organs and values takes precedence over the folder."""
    assert dataset.folder is not None
    folder = path.parent / dataset.root / dataset.folder
    if not is_dataset_folder(folder):
        raise UserError(code=Code.FILE_MISSING, subject=f"{path}: dataset {dataset.name}: folder",
                        expected=f"a {DESCRIPTION} in {folder}", found="none")
    entry, notes = read_dataset_folder(folder, label_space, dataset.name)
    for note in notes:
        reporter.warning(Problem.parsed(note, Code.LABELS_UNDERSTOOD))
    annotated = entry.annotated
    if dataset.annotated is not None:
        annotated = dataset.annotated
    # A value that the manifest maps must not be split as the folder says, nor the other way round.
    mapped = {*dataset.label_map, *dataset.split_left_right}
    label_map = {value: names for value, names in entry.label_map.items() if value not in mapped}
    split = {value: pair for value, pair in entry.split_left_right.items() if value not in mapped}
    return entry.model_copy(update={
        "folder": dataset.folder, "root": str(real_path(folder)), "weight": dataset.weight,
        "kind": dataset.kind or entry.kind, "ignored": dataset.ignored, "annotated": annotated,
        "label_map": label_map | dataset.label_map, "split_left_right": split | dataset.split_left_right})


def _manifest(path: Path, label_space: LabelSpace, datasets: Sequence[DatasetEntry], splits: Splits,
              reporter: Reporter) -> Manifest:
    entries = []
    for dataset in datasets:
        root = real_path(path.parent / dataset.root)
        entries += [(dataset, entry) for entry in expand(dataset.cases or [], root, f"{path}: dataset {dataset.name}")]
    former_names = _former_names([entry for _, entry in entries])
    names_by_file = case_names([Path(entry.image) for _, entry in entries])
    cases = []
    for (dataset, entry), name, group in zip(entries, names_by_file, former_names, strict=True):
        if entry.name is None:
            entry.name = name
        cases.append(_case(path, dataset, entry, entry.group or group, label_space))
    # Names are those of cached files and of results, so they must differ over all data sets, on Windows in more than
    # capitals.
    names: dict[str, str] = {}
    for case in cases:
        earlier = names.get(case.name.casefold())
        if earlier is not None:
            called = " and ".join(f"'{name}'" for name in dict.fromkeys([earlier, case.name]))
            raise UserError(code=Code.NAME_TAKEN, subject=path, found=f"two cases are called {called}",
                            hint="give them different names with 'name'")
        names[case.name.casefold()] = case.name
    explicit = {case.name for case, (_, entry) in zip(cases, entries, strict=True) if entry.group is not None}
    together = with_patients_together(cases, explicit, reporter)
    visits = possible_visits(together, explicit)
    if visits is not None:
        reporter.warning(visits)
    groups = {case.group for case in together}
    joined = {before.group: case.group for before, case in zip(cases, together, strict=True)
              if before.group != case.group}
    # Recipes name cases as they are called now, or as their groups are.
    joined |= {case.name: case.group for case in together if case.name not in groups}
    return Manifest(path, label_space, together, splits.validation, splits.seed, joined, frozenset(explicit))


def _former_names(entries: Sequence[CaseEntry]) -> list[str]:
    """What versions up to 0.5.0 called the cases. They are groups still: by the names of groups patients are dealt to
    sides and folds, which must not change where a run goes on."""
    images = [Path(entry.image) for entry in entries]
    stems = [stem_of(image) for image in images]
    counts = Counter(stems)
    names = []
    for entry, image, stem in zip(entries, images, stems, strict=True):
        name = entry.name or stem
        if entry.name is None and (counts[stem] > 1 or stem.lower() in SAYS_NOTHING):
            name = name_with_folder(image)
        names.append(name)
    return names


def _case(path: Path, dataset: DatasetEntry, entry: CaseEntry, group: str, label_space: LabelSpace) -> Case:
    root = real_path(path.parent / dataset.root)
    kind, derived = entry.kind or dataset.kind, dataset.folder is not None
    assert kind is not None
    where = f"{path}: dataset {dataset.name}, {entry.image}"
    meaning = meaning_of(dataset, entry, kind, label_space, where)
    _check_annotation(entry, kind, meaning, derived, where)
    if not entry.name or any(letter in entry.name for letter in '/\\:*?"<>|\0'):
        raise UserError(code=Code.NAME_UNFIT, subject=f"{where}: name", expected="one that can be part of a file name",
                        found=f"'{entry.name}'")
    length = len(entry.name.encode("utf-8", "surrogatepass"))  # JSON and old disks have letters that are no UTF-8
    if length > LONGEST_NAME:
        raise UserError(code=Code.NAME_UNFIT, subject=f"{where}: name", expected=f"at most {LONGEST_NAME} bytes",
                        found=length)

    def file(name: str | None) -> Path | None:
        return None if name is None else root / name

    return Case(
        name=entry.name, group=group, dataset=dataset.name, image=root / entry.image,
        kind=meaning.kind, label=file(entry.label), strokes=file(entry.strokes), soft_targets=file(entry.soft_targets),
        annotated=meaning.annotated, weight=dataset.weight, label_map=meaning.label_map,
        split_left_right=meaning.split_left_right, only_mapped=derived, ignored=meaning.ignored,
        other_values=entry.other_values or dataset.other_values or "",
    )


def _check_annotation(entry: CaseEntry, kind: Kind, meaning: LabelMeaning, derived: bool, where: str) -> None:
    """Raises UserError, beginning with `where`, for a case that lacks what its kind needs or has what it forbids.

    `derived`: the organs were read from a foreign folder, which may annotate none of ours.
    """
    if kind is Kind.PARTIAL and not meaning.annotated and not derived:
        raise UserError(code=Code.SETTING_MISSING, subject=where,
                        found="a partial case names its organs under 'annotated', found none")
    if meaning.ignored and entry.label is None:
        raise UserError(code=Code.SETTING_MISSING, subject=f"{where}: ignored",
                        expected="a label whose values are not to be trusted", found="none")
    if kind in (Kind.FULL, Kind.PARTIAL) and entry.label is None:
        raise UserError(code=Code.SETTING_MISSING, subject=where,
                        found=f"a {kind.value} case needs a label, found none")
    if kind is Kind.SCRIBBLE and entry.label is None and entry.strokes is None:
        raise UserError(code=Code.SETTING_MISSING, subject=where,
                        found="a scribble case needs a label or strokes, found none")
    if kind is Kind.UNLABELLED and (entry.label or entry.strokes):
        raise UserError(code=Code.SETTINGS_CONFLICT, subject=where,
                        found=f"an unlabelled case has no label, found {entry.label or entry.strokes}")
