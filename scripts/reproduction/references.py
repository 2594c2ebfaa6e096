"""Cases with a reference label of every organ of a table: phantoms, CTs synthesised round people's label maps, or the
cases of a manifest that decide them all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from PartialOrganSegLib.annotation import CandidateTable
from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.errors import Code, UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.formats.reading import read_labelmap
from PartialOrganSegLib.formats.writing import write_labelmap
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.organs import WORD16, LabelSpace

from . import anatomies, phantoms


@dataclass(frozen=True)
class Reference:
    """A case and its dense label map: 1 to n in the order of the benchmark's organs, 0 elsewhere.

    `patient`: cases of one are never divided between training and test; empty where every case is a patient of its own.
    """

    name: str
    image: Path
    labels: Path
    patient: str = ""

    @property
    def group(self) -> str:
        """What a split must keep together."""
        return self.patient or self.name


def phantom_references(work: Path, count: int, organs: Sequence[str], reporter: Reporter) -> list[Reference]:
    """`count` synthetic patients, made under `work` where they are not there yet."""
    return _of_word_labels(work, phantoms.make_patients(work / f"phantoms-{phantoms.VERSION}", count, reporter), organs)


def anatomy_references(work: Path, maps: Path, organs: Sequence[str], reporter: Reporter) -> list[Reference]:
    """A synthetic CT round each of the WORD label maps in the folder `maps`, made under `work`."""
    made_under = work / f"anatomies-{anatomies.VERSION}-{_digest(str(maps.resolve()))}"
    return _of_word_labels(work, anatomies.make_anatomies(made_under, maps, reporter), organs)


def _of_word_labels(work: Path, files: Sequence[tuple[Path, Path]], organs: Sequence[str]) -> list[Reference]:
    folder = _folder(work, [str(files[0][1].parent.relative_to(work)), *organs])
    references = []
    for image, labels in files:
        name = image.name.removesuffix(".nii.gz")
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
    for number, case in enumerate(manifest.cases, 1):
        reporter.progress("reading reference labels", number, len(manifest.cases))
        if case.label is None or case.strokes is not None:
            continue
        stamps = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in case.files()]
        target = folder / f"{case.name}-{_digest(stamps)}.nii.gz"  # written once: training notices changed files
        if not target.exists():
            image = case.read_image()
            table = CandidateTable(space.class_count)
            dense = _dense(case.read_codes(image, space, table, reporter), table.table, members)
            if dense is None:  # nothing can be measured on a case that leaves an organ open
                continue
            write_labelmap(target, Volume(_renumbered(dense, space, organs), image.grid))
        references.append(Reference(case.name, case.image, target, case.group))
    return references


def _dense(codes: np.ndarray, table: np.ndarray, members: np.ndarray) -> np.ndarray | None:
    """Class indices, 0 where it is none of the `members` (C,); None where some voxel may or may not be one of them."""
    # A voxel that may be an organ of the benchmark or something else makes the case useless as a reference.
    sizes = table.sum(1)
    open_codes = (table & members).any(1) & (sizes > 1)
    if open_codes[np.unique(codes)].any():
        return None
    return np.where(sizes == 1, table.argmax(1), 0).astype(np.uint8)[codes]


def usable_organs(path: Path | None, organs: Sequence[str]) -> list[str]:
    """Those of a table's organs that the label space of the data has. Raises UserError where it has none of them."""
    space = WORD16
    if path is not None:
        space = load_manifest(path).label_space
    usable = [name for name in organs if name in space.names]
    if not usable:
        raise UserError(code=Code.NO_CASES, subject=path, expected=f"some of {', '.join(organs)}",
                        found=', '.join(space.names))
    return usable


def _renumbered(labels: np.ndarray, space: LabelSpace, organs: Sequence[str]) -> np.ndarray:
    lookup = np.zeros(space.class_count, np.uint8)
    for number, index in enumerate(space.indices(organs), 1):
        lookup[index] = number
    return lookup[labels]


def _folder(work: Path, parts: Sequence[str]) -> Path:
    # The same data under other organs, or another path, are other labels: a folder for each.
    folder = work / "labels" / _digest(parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]
