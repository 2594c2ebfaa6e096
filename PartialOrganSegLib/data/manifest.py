"""The manifest: which images there are and what their annotations say. Read and checked before anything trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ..annotation import CandidateTable, Kind, encode_labels, encode_scribble, label_candidates
from ..errors import UserError, nearest
from ..events import Reporter
from ..formats.reading import read_ct, read_labelmap
from ..formats.strokes import NOT_DRAWN, paint_strokes, read_strokes
from ..geometry import Volume
from ..organs import LABEL_SPACES, LabelSpace
from ..yaml_file import read_yaml


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _CaseEntry(_Strict):
    image: str
    label: str | None = None
    strokes: str | None = None
    name: str | None = None
    group: str | None = None
    kind: Kind | None = None
    annotated: list[str] | None = None


class _DatasetEntry(_Strict):
    name: str
    root: str = "."
    kind: Kind
    annotated: list[str] = []
    label_map: dict[int, Names] = {}
    weight: float = Field(default=1.0, ge=0)
    cases: list[_CaseEntry]


class _ManifestFile(_Strict):
    label_space: str = "word16"
    datasets: list[_DatasetEntry] = Field(min_length=1)


@dataclass(frozen=True)
class Case:
    """One annotated image. `group` names the patient or source CT: cases of one group are held out together."""

    name: str
    group: str
    dataset: str
    image: Path
    kind: Kind
    label: Path | None = None
    strokes: Path | None = None
    annotated: tuple[str, ...] = ()
    label_map: tuple[tuple[int, tuple[str, ...]], ...] = ()
    weight: float = 1.0

    def files(self) -> list[Path]:
        """Every file the case is read from."""
        return [path for path in (self.image, self.label, self.strokes) if path is not None]

    def read_image(self) -> Volume:
        """The image in HU. What `check` let through is not doubted again."""
        return read_ct(self.image, force=True)

    def read_codes(self, grid_of: Volume, label_space: LabelSpace, table: CandidateTable) -> np.ndarray:
        """uint8 code map (z, y, x) on the image's grid; strokes win over the label they are drawn on.

        Raises UserError when label and image differ in geometry or the label holds an unknown value.
        """
        codes = np.zeros(grid_of.array.shape, np.uint8)
        if self.label is not None:
            labels = read_labelmap(self.label)
            if not labels.grid.same_as(grid_of.grid, tolerance_mm=0.1):
                raise UserError(f"{self.label}: expected the geometry of {self.image.name} {grid_of.grid.size}, "
                                f"found {labels.grid.size}, spacing {labels.grid.spacing}")
            if self.kind is Kind.SCRIBBLE:
                self._check_scribble(labels.array, label_space)
                codes = encode_scribble(labels.array, table, NOT_DRAWN)
            else:
                values = [int(value) for value in np.unique(labels.array)]
                try:
                    candidates = label_candidates(self.kind, self.annotated, dict(self.label_map), label_space, values)
                except UserError as error:
                    raise UserError(f"{self.label}: {error}") from None
                codes = encode_labels(labels.array, candidates, table)
        if self.strokes is not None:
            drawn = encode_scribble(paint_strokes(read_strokes(self.strokes), grid_of.grid, label_space).array, table)
            codes = np.where(drawn > 0, drawn, codes)
        return codes

    def _check_scribble(self, labels: np.ndarray, label_space: LabelSpace) -> None:
        wrong = [int(v) for v in np.unique(labels) if v != NOT_DRAWN and not 0 <= v < label_space.class_count]
        if wrong:
            raise UserError(f"{self.label}: expected 0..{label_space.class_count - 1} or {NOT_DRAWN} (not drawn), "
                            f"found {wrong[0]}")


@dataclass(frozen=True)
class Manifest:
    """All cases of a training run, in the manifest's order."""

    path: Path
    label_space: LabelSpace
    cases: tuple[Case, ...]

    def without(self, groups: Sequence[str]) -> list[Case]:
        """The cases whose group is not held out."""
        return [case for case in self.cases if case.group not in set(groups)]


def load_manifest(path: Path | str) -> Manifest:
    """Reads a manifest. Raises UserError naming the key and what was found; files are looked at by `check_manifest`."""
    path = Path(path)
    try:
        content = _ManifestFile.model_validate(read_yaml(path, "manifest"))
    except ValidationError as error:
        raise UserError(f"{path}: {_explain(error)}"[:400]) from None
    if content.label_space not in LABEL_SPACES:
        raise UserError(f"{path}: label_space: expected one of {', '.join(LABEL_SPACES)}, "
                        f"found '{content.label_space}'{nearest(content.label_space, LABEL_SPACES)}")
    label_space = LABEL_SPACES[content.label_space]
    entries = [(dataset, entry) for dataset in content.datasets for entry in dataset.cases]
    _name_by_folder([entry for _, entry in entries])
    cases = [_case(path, dataset, entry, label_space) for dataset, entry in entries]
    names: set[str] = set()
    for case in cases:
        if case.name in names:
            raise UserError(f"{path}: two cases are called '{case.name}'; give them different names with 'name'")
        names.add(case.name)
    return Manifest(path, label_space, tuple(cases))


def _name_by_folder(entries: Sequence[_CaseEntry]) -> None:
    """Names a case after its file, and after its folder too where several files have that name (patient/ct.nii.gz)."""
    stems = [Path(entry.image).name.split(".")[0] for entry in entries]
    for entry, stem in zip(entries, stems, strict=True):
        if entry.name is None:
            entry.name = stem if stems.count(stem) == 1 else f"{Path(entry.image).parent.name}_{stem}".lstrip("_")


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        entry = {0: _ManifestFile, 2: _DatasetEntry}.get(len(first["loc"]) - 1, _CaseEntry)
        return f"{key}: unknown setting{nearest(str(first['loc'][-1]), entry.model_fields)}"
    return f"{key or 'manifest'}: {first['msg']}, found {first['input']!r}"


def _case(path: Path, dataset: _DatasetEntry, entry: _CaseEntry, label_space: LabelSpace) -> Case:
    root = (path.parent / dataset.root).resolve()
    kind = entry.kind or dataset.kind
    annotated = dataset.annotated if entry.annotated is None else entry.annotated
    where = f"{path}: dataset {dataset.name}, {entry.image}"
    try:
        organs = [label_space.index(name) for name in annotated]
        label_space.indices([name for names in dataset.label_map.values() for name in names])
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if 0 in organs:
        raise UserError(f"{where}: annotated: expected organs, found '{annotated[organs.index(0)]}'")
    if kind is Kind.PARTIAL and not annotated:
        raise UserError(f"{where}: a partial case names its organs under 'annotated', found none")
    if kind in (Kind.FULL, Kind.PARTIAL) and entry.label is None:
        raise UserError(f"{where}: a {kind.value} case needs a label, found none")
    if kind is Kind.SCRIBBLE and entry.label is None and entry.strokes is None:
        raise UserError(f"{where}: a scribble case needs a label or strokes, found none")
    if kind is Kind.UNLABELLED and (entry.label or entry.strokes):
        raise UserError(f"{where}: an unlabelled case has no label, found {entry.label or entry.strokes}")
    assert entry.name is not None
    return Case(
        name=entry.name, group=entry.group or entry.name, dataset=dataset.name, image=root / entry.image, kind=kind,
        label=None if entry.label is None else root / entry.label,
        strokes=None if entry.strokes is None else root / entry.strokes,
        annotated=tuple(label_space.names[index - 1] for index in organs), weight=dataset.weight,
        label_map=tuple((value, tuple(names)) for value, names in dataset.label_map.items()),
    )


def check_manifest(manifest: Manifest, reporter: Reporter | None = None) -> list[str]:
    """Reads every case. One line a problem: missing files, other geometry, unknown or undeclared organs, with voxels.

    A full case without some organ is only a warning: an organ may be absent.
    """
    reporter = reporter or Reporter()
    problems: list[str] = []
    for done, case in enumerate(manifest.cases):
        missing = [str(path) for path in case.files() if not path.exists()]
        if missing:
            problems.append(f"{case.name}: expected the file {missing[0]}, found none")
        else:
            try:
                problems += _check_labels(case, manifest.label_space, reporter)
            except UserError as error:
                problems.append(f"{case.name}: {error}")
        reporter.progress("checking", done + 1, len(manifest.cases))
    return problems


def _check_labels(case: Case, label_space: LabelSpace, reporter: Reporter) -> list[str]:
    image = read_ct(case.image, force=True)
    case.read_codes(image, label_space, CandidateTable(label_space.class_count))
    if case.label is None or case.kind not in (Kind.FULL, Kind.PARTIAL):
        return []
    values, counts = np.unique(read_labelmap(case.label).array, return_counts=True)
    found = {int(value): int(count) for value, count in zip(values, counts, strict=True) if value}
    mapped = dict(case.label_map)
    if case.kind is Kind.FULL:
        absent = [organ.name for organ in label_space.organs if organ.index not in found]
        if absent and not mapped:
            reporter.warning(f"{case.name}: full label without {', '.join(absent)}")
        return []
    return [f"{case.name}: partial label holds {count} voxels of {label_space.organs[value - 1].name}, "
            f"which is not among its annotated organs" for value, count in found.items()
            if value not in mapped and 0 < value < label_space.class_count
            and label_space.organs[value - 1].name not in case.annotated]
