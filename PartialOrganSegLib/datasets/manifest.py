"""The manifest: which images there are and what their annotations say. Read here, checked by `check_manifest`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from ..annotation import Kind
from ..errors import Code, Problem, UserError, nearest
from ..events import Reporter
from ..label_space_file import LabelSpaceEntry
from ..organs import LABEL_SPACES, WORD16, LabelSpace, label_space_of_names
from ..yaml_file import read_yaml
from .case import Case, Manifest
from .checking import check_manifest
from .dataset_folder import DESCRIPTION, is_dataset_folder, read_dataset_folder
from .manifest_file import CaseEntry, DatasetEntry, Splits, expand, parse_manifest
from .meaning import meaning_of

__all__ = ["Case", "Manifest", "check_manifest", "load_label_space", "load_manifest"]

_LABEL_SPACE_FILES = (".yaml", ".yml", ".json")
LONGEST_NAME = 200  # bytes in UTF-8 of a case's: file systems take 255, and files of a case have endings
_SILENT = Reporter()


def load_manifest(path: Path | str, reporter: Reporter = _SILENT) -> Manifest:
    """Reads a manifest, or an nnU-Net raw or Decathlon folder as one of WORD's sixteen organs.

    How the labels of such folders were understood is told as warnings. Raises UserError naming the key and what was
    found; the images and labels themselves are looked at by `check_manifest`.
    """
    path = Path(path)
    if is_dataset_folder(path):
        path = path if path.name == DESCRIPTION else path / DESCRIPTION
        dataset = _folder(DatasetEntry(name=path.resolve().parent.name, folder="."), path, WORD16, reporter)
        return _manifest(path, WORD16, [dataset], Splits())
    if path.is_dir():
        raise UserError(f"{path}: expected a manifest file, or a folder with a {DESCRIPTION} (nnU-Net raw, Decathlon), "
                        f"found neither")
    content = parse_manifest(path, read_yaml(path, "manifest"))
    try:
        label_space = load_label_space(content.label_space, path.parent)
    except UserError as error:
        raise UserError(f"{path}: label_space: {error}") from None
    datasets = [_folder(dataset, path, label_space, reporter) if dataset.folder else dataset
                for dataset in content.datasets]
    return _manifest(path, label_space, datasets, content.splits)


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
        raise UserError(f"expected one of {', '.join(LABEL_SPACES)}, a list of names or a file, "
                        f"found '{setting}'{nearest(setting, LABEL_SPACES)}")
    file = folder / setting
    content = read_yaml(file, "label space")
    names = content.get("organs") if isinstance(content, dict) else content
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return label_space_of_names(file.stem, names)
    try:
        return LabelSpaceEntry.model_validate(content).label_space()
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{file}: {'.'.join(map(str, first['loc'])) or 'label space'}: {first['msg']}") from None


def _folder(dataset: DatasetEntry, path: Path, label_space: LabelSpace, reporter: Reporter) -> DatasetEntry:
    """A foreign folder's entry; what the manifest itself says about kind, organs and values goes before it."""
    assert dataset.folder is not None
    folder = path.parent / dataset.root / dataset.folder
    if not is_dataset_folder(folder):
        raise UserError(f"{path}: dataset {dataset.name}: folder: expected a {DESCRIPTION} in {folder}, found none")
    entry, notes = read_dataset_folder(folder, label_space, dataset.name)
    for note in notes:
        reporter.warning(Problem.parsed(note, Code.LABELS_UNDERSTOOD))
    own = {*dataset.label_map, *dataset.split_left_right}
    return entry.model_copy(update={
        "folder": dataset.folder, "root": str(folder.resolve()), "weight": dataset.weight,
        "kind": dataset.kind or entry.kind, "ignored": dataset.ignored,
        "annotated": entry.annotated if dataset.annotated is None else dataset.annotated,
        "label_map": {v: names for v, names in entry.label_map.items() if v not in own} | dataset.label_map,
        "split_left_right": {v: pair for v, pair in entry.split_left_right.items() if v not in own}
        | dataset.split_left_right})


def _manifest(path: Path, label_space: LabelSpace, datasets: Sequence[DatasetEntry], splits: Splits) -> Manifest:
    entries = []
    for dataset in datasets:
        root = (path.parent / dataset.root).resolve()
        entries += [(dataset, entry) for entry in expand(dataset.cases or [], root, f"{path}: dataset {dataset.name}")]
    _name_by_folder([entry for _, entry in entries])
    cases = [_case(path, dataset, entry, label_space) for dataset, entry in entries]
    names: set[str] = set()
    for case in cases:
        if case.name in names:
            raise UserError(f"{path}: two cases are called '{case.name}'; give them different names with 'name'")
        names.add(case.name)
    return Manifest(path, label_space, tuple(cases), splits.validation, splits.seed)


def _name_by_folder(entries: Sequence[CaseEntry]) -> None:
    """Names a case after its file, and after its folder too where several files have that name (patient/ct.nii.gz)."""
    stems = [Path(entry.image).name.split(".")[0] for entry in entries]
    for entry, stem in zip(entries, stems, strict=True):
        if entry.name is None:
            entry.name = stem if stems.count(stem) == 1 else f"{Path(entry.image).parent.name}_{stem}".lstrip("_")


def _case(path: Path, dataset: DatasetEntry, entry: CaseEntry, label_space: LabelSpace) -> Case:
    root = (path.parent / dataset.root).resolve()
    kind, derived = entry.kind or dataset.kind, dataset.folder is not None
    assert kind is not None
    where = f"{path}: dataset {dataset.name}, {entry.image}"
    meaning = meaning_of(dataset, entry, kind, label_space, where)
    if kind is Kind.PARTIAL and not meaning.annotated and not derived:
        raise UserError(f"{where}: a partial case names its organs under 'annotated', found none")
    if meaning.ignored and entry.label is None:
        raise UserError(f"{where}: ignored: expected a label whose values are not to be trusted, found none")
    if kind in (Kind.FULL, Kind.PARTIAL) and entry.label is None:
        raise UserError(f"{where}: a {kind.value} case needs a label, found none")
    if kind is Kind.SCRIBBLE and entry.label is None and entry.strokes is None:
        raise UserError(f"{where}: a scribble case needs a label or strokes, found none")
    if kind is Kind.UNLABELLED and (entry.label or entry.strokes):
        raise UserError(f"{where}: an unlabelled case has no label, found {entry.label or entry.strokes}")
    if not entry.name or any(letter in entry.name for letter in '/\\:*?"<>|\0'):
        raise UserError(f"{where}: name: expected one that can be part of a file name, found '{entry.name}'")
    if len(entry.name.encode()) > LONGEST_NAME:
        raise UserError(f"{where}: name: expected at most {LONGEST_NAME} bytes, found {len(entry.name.encode())}")
    return Case(
        name=entry.name, group=entry.group or entry.name, dataset=dataset.name, image=root / entry.image,
        kind=meaning.kind, label=None if entry.label is None else root / entry.label,
        strokes=None if entry.strokes is None else root / entry.strokes,
        soft_targets=None if entry.soft_targets is None else root / entry.soft_targets,
        annotated=meaning.annotated, weight=dataset.weight, label_map=meaning.label_map,
        split_left_right=meaning.split_left_right, only_mapped=derived, ignored=meaning.ignored,
    )
