"""Cases with a reference label of every organ of a table: phantoms, or the cases of a manifest that decide them all."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from PartialOrganSegLib.annotation import CandidateTable
from PartialOrganSegLib.data.manifest import load_manifest
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.formats.reading import read_labelmap
from PartialOrganSegLib.formats.writing import write_labelmap
from PartialOrganSegLib.geometry import Volume
from PartialOrganSegLib.organs import WORD16, LabelSpace

from . import phantoms


@dataclass(frozen=True)
class Reference:
    """A case and its dense label map: 1 to n in the order of the benchmark's organs, 0 elsewhere."""

    name: str
    image: Path
    labels: Path


def phantom_references(work: Path, count: int, organs: Sequence[str], reporter: Reporter) -> list[Reference]:
    """`count` synthetic patients, made under `work` where they are not there yet."""
    folder = _folder(work, organs)
    references = []
    for image, labels in phantoms.make_patients(work / f"phantoms-{phantoms.VERSION}", count, reporter):
        name = image.name.split(".")[0]
        target = folder / f"{name}.nii.gz"
        if not target.exists():
            volume = read_labelmap(labels)
            write_labelmap(target, Volume(_renumbered(volume.array, WORD16, organs), volume.grid))
        references.append(Reference(name, image, target))
    return references


def manifest_references(work: Path, path: Path, organs: Sequence[str], reporter: Reporter) -> list[Reference]:
    """The cases of a manifest, nnU-Net or Decathlon folder whose annotation decides every voxel of all `organs`.

    Raises UserError where the label space lacks an organ.
    """
    manifest = load_manifest(path, reporter)
    space = manifest.label_space
    members = np.zeros(space.class_count, bool)
    members[list(space.indices(organs))] = True
    folder = _folder(work, [str(path.resolve()), *organs])
    references = []
    for done, case in enumerate(manifest.cases, 1):
        reporter.progress("reading reference labels", done, len(manifest.cases))
        if case.label is None or case.strokes is not None:
            continue
        image = case.read_image()
        sets = CandidateTable(space.class_count)
        codes = case.read_codes(image, space, sets, reporter)
        table = sets.table
        if (table & members).any(1)[np.unique(codes)][table.sum(1)[np.unique(codes)] > 1].any():
            continue  # somewhere it may or may not be one of the organs
        certain = np.where(table.sum(1) == 1, table.argmax(1), 0).astype(np.uint8)
        target = folder / f"{case.name}.nii.gz"
        write_labelmap(target, Volume(_renumbered(certain[codes], space, organs), image.grid))
        references.append(Reference(case.name, case.image, target))
    return references


def usable_organs(path: Path | None, organs: Sequence[str]) -> list[str]:
    """Those of a table's organs that the label space of the data has. Raises UserError where it has none of them."""
    space = WORD16 if path is None else load_manifest(path).label_space
    usable = [name for name in organs if name in space.names]
    if not usable:
        raise UserError(f"{path}: expected some of {', '.join(organs)}, found {', '.join(space.names)}")
    return usable


def _renumbered(labels: np.ndarray, space: LabelSpace, organs: Sequence[str]) -> np.ndarray:
    lookup = np.zeros(space.class_count, np.uint8)
    for number, index in enumerate(space.indices(organs), 1):
        lookup[index] = number
    return lookup[labels]


def _folder(work: Path, parts: Sequence[str]) -> Path:
    folder = work / "labels" / hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    return folder
