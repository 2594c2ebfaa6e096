"""A case of a fine-tuning run: whatever its annotation was (full, partial, coarse, strokes, another numbering), a map
of numbered candidate sets in the run's label space. So left-out slabs, other label spaces and replay are nothing
special."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..annotation import OUTSIDE, Kind
from ..formats.folder_files import files_below
from ..models.checksums import sha256
from ..organs import BACKGROUND, LabelSpace

TRAINED, MEASURED = "trained", "measured"  # the groups of a run's own manifest


@dataclass(frozen=True)
class PreparedCase:
    """A case in the run's label space.

    `candidate_sets[k]` are the classes that value k of the label file `candidate_map` allows (`UNKNOWN` and `OUTSIDE`:
    any), in `set_voxels[k]` voxels. `slices[c]` are the axial slices, from below, in which some voxel certainly is
    class c, `voxels[c]` how many voxels are. `shape` (z, y, x) is the CT's at the working spacing, `measured_shape`
    that of the part which a network sees when the case is measured on, None for all. `sha256` is of image and
    annotation.
    """

    name: str
    group: str
    dataset: str
    kind: Kind
    weight: float
    image: Path
    candidate_map: Path
    candidate_sets: tuple[frozenset[int], ...]
    set_voxels: tuple[int, ...]
    slices: dict[int, npt.NDArray[np.intp]]
    voxels: dict[int, int]
    shape: tuple[int, int, int]
    sha256: str
    image_sha256: str
    measured_shape: tuple[int, int, int] | None = None

    @property
    def organs(self) -> list[int]:
        """The organs that some voxel certainly is."""
        return sorted(label for label in self.voxels if label)

    @property
    def labelled(self) -> bool:
        """Whether any voxel's annotation excludes anything."""
        return len(set(self.candidate_sets)) > 1

    def absent(self, label: int) -> int:
        """Voxels that are annotated as something else than the organ `label`."""
        return sum(count for classes, count in zip(self.candidate_sets, self.set_voxels, strict=True)
                   if label not in classes)

    def denies(self, label: int) -> bool:
        """Whether the annotation says of every voxel that it is not the organ `label`."""
        return self.absent(label) == sum(self.set_voxels)

    def candidate_table(self, class_count: int) -> npt.NDArray[np.bool_]:
        """(K, class_count) bool: the classes that each of the K candidate sets allows."""
        table = np.zeros((len(self.candidate_sets), class_count), bool)
        for row, classes in zip(table, self.candidate_sets, strict=True):
            row[list(classes)] = True
        return table

    def entry(self, space: LabelSpace, **changes: object) -> dict[str, object]:
        """The case in a manifest; `changes` replace keys of it."""
        entry: dict[str, object] = {"image": str(self.image), "name": self.name, "kind": Kind.UNLABELLED.value}
        if self.labelled:
            names = (BACKGROUND, *space.names)
            label_map = {}
            for value, classes in enumerate(self.candidate_sets):
                # No voxel of a file lies outside of it.
                if value == OUTSIDE:
                    continue
                label_map[value] = [names[label] for label in sorted(classes)]
            kind = Kind.SCRIBBLE if self.kind is Kind.SCRIBBLE else Kind.PARTIAL
            annotated = [space.names[label - 1] for label in self.organs] or list(space.names)
            entry |= {"kind": kind.value, "label": str(self.candidate_map), "annotated": annotated,
                      "label_map": label_map}
        return entry | changes


def files_sha256(paths: Sequence[Path]) -> str:
    """Of the content of files, or of all files in a DICOM folder; names and times do not matter."""
    files: list[Path] = []
    for path in paths:
        if path.is_file():
            files.append(path)
        else:
            files += sorted(files_below(path))
    return hashlib.sha256("".join(sha256(file) for file in files).encode()).hexdigest()


def fingerprint(cases: Sequence[PreparedCase]) -> str:
    """SHA-256 of all that the cases say, in any order."""
    return hashlib.sha256("".join(sorted(case.sha256 for case in cases)).encode()).hexdigest()
