"""The cases of a fine-tuning run: read once, told apart from bad ones, and kept as code maps in the run's label space.

Whatever a case's annotation was (full, partial, coarse, strokes, another numbering), it becomes one label file whose
values are numbered candidate sets. So left-out slabs, other label spaces and replay need no ways of their own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..annotation import OUTSIDE, UNKNOWN, CandidateTable, Kind
from ..datasets.case import Case
from ..errors import Code, UserError
from ..events import Reporter
from ..formats.reading import read_ct, read_labelmap
from ..formats.writing import write_labelmap
from ..imaging.components import voxel_counts
from ..imaging.resampling import working_shape
from ..imaging.volume import Volume
from ..loading.cache import codes_at
from ..models.checksums import sha256
from ..organs import BACKGROUND, LabelSpace

LONGEST_IN_FILE = 60  # letters of a case's name
TRAINED, MEASURED = "trained", "measured"  # the groups of a run's own manifest


@dataclass(frozen=True)
class TakenCase:
    """A case in the run's label space.

    `sets[k]` is the candidate set of value k in the file `codes` (`UNKNOWN` and `OUTSIDE`: anything). `slices[c]` are
    the axial slices, from below, in which some voxel certainly is class c, `voxels[c]` how many voxels are; `counts[k]`
    are the voxels of value k. `shape` is the CT's at the working spacing, `seen` that of the part which is looked at
    when the case is measured on, None for all.
    """

    name: str
    group: str
    dataset: str
    kind: Kind
    weight: float
    image: Path
    codes: Path
    sets: tuple[frozenset[int], ...]
    counts: tuple[int, ...]
    slices: dict[int, np.ndarray]
    voxels: dict[int, int]
    shape: tuple[int, int, int]
    sha256: str
    image_sha256: str
    seen: tuple[int, int, int] | None = None

    @property
    def organs(self) -> list[int]:
        """The organs that some voxel certainly is."""
        return sorted(label for label in self.voxels if label)

    @property
    def labelled(self) -> bool:
        """Whether any voxel's annotation excludes anything."""
        return len(set(self.sets)) > 1

    def absent(self, label: int) -> int:
        """Voxels that are annotated as something else than the organ `label`."""
        return sum(count for classes, count in zip(self.sets, self.counts, strict=True) if label not in classes)

    def entry(self, space: LabelSpace, **changes: Any) -> dict[str, Any]:
        """The case in a manifest; `changes` replace keys of it."""
        entry: dict[str, Any] = {"image": str(self.image), "name": self.name, "kind": Kind.UNLABELLED.value}
        if self.labelled:
            names = (BACKGROUND, *space.names)
            organs = [space.names[label - 1] for label in self.organs] or list(space.names)
            kind = Kind.SCRIBBLE if self.kind is Kind.SCRIBBLE else Kind.PARTIAL
            entry |= {"kind": kind.value, "label": str(self.codes), "annotated": organs,
                      "label_map": {code: [names[label] for label in sorted(classes)]
                                    for code, classes in enumerate(self.sets) if code != OUTSIDE}}
        return entry | changes


def take_cases(cases: Sequence[Case], own_space: LabelSpace, space: LabelSpace, spacing_zyx: Sequence[float],
               folder: Path, reporter: Reporter, blurred: Collection[int] = (), told: Collection[int] | None = None,
               force: bool = False) -> list[TakenCase]:
    """Reads cases of a manifest with `own_space` and writes their code maps in `space` into `folder`.

    `blurred` organs become "that organ or background": known well enough not to be called another one, not well enough
    to be judged by. With `told`, only of these organs it is said where they are and are not. Raises UserError, naming
    the case, for one that is no CT (unless `force`) or whose label does not fit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    translate = translation(own_space, space, blurred, told)
    taken = []
    for done, case in enumerate(cases):
        try:
            target = folder / f"{done}-{case.name[:LONGEST_IN_FILE]}.codes.nii.gz"  # CASE and case may be one file
            taken.append(_take(case, own_space, space, translate, spacing_zyx, target, reporter, force))
        except UserError as error:
            problem = error.problem
            if problem.code is Code.NOT_A_CT:
                problem = replace(problem, hint="--force learns from it all the same")
            raise UserError(problem.within(case.name)) from None
        reporter.progress("reading cases", done + 1, len(cases))
    return taken


def translation(own: LabelSpace, run: LabelSpace, blurred: Collection[int] = (),
                told: Collection[int] | None = None) -> Callable[[frozenset[int]], frozenset[int]]:
    """Candidate sets of one label space as those of another: what `own` lacks was background to it, and vice versa.

    An organ that `run` lacks may go by another name there ("kidney", "left_kidney"): any organ that `own` lacks.
    """
    to_run = {organ.index: run.index(organ.name) if organ.name in run.names else 0 for organ in own.organs} | {0: 0}
    unseen = {organ.index for organ in run.organs if organ.name not in own.names}

    def translate(classes: frozenset[int]) -> frozenset[int]:
        found = {to_run[label] for label in classes}
        found |= unseen if 0 in found else set()
        found |= {0} if found & set(blurred) else set()
        if told is not None and not found & set(told):
            found = set(range(run.class_count)) - set(told)
        return frozenset(found)

    return translate


def _take(case: Case, own_space: LabelSpace, space: LabelSpace, translate: Callable[[frozenset[int]], frozenset[int]],
          spacing_zyx: Sequence[float], target: Path, reporter: Reporter, force: bool) -> TakenCase:
    for path in case.files():
        if not path.exists():
            raise UserError(code=Code.FILE_MISSING, expected=f"the file {path}", found="none")
    image = read_ct(case.image, reporter=reporter, force=force)
    own, table = CandidateTable(own_space.class_count), CandidateTable(space.class_count)
    own_codes = case.read_codes(image, own_space, own, reporter)
    present = set(np.unique(own_codes).tolist())
    lookup = np.array([table.code(translate(frozenset(np.flatnonzero(row).tolist()))) if code in present else UNKNOWN
                       for code, row in enumerate(own.table)], np.uint8)
    codes = Volume(lookup[own_codes], image.grid)
    write_labelmap(target, codes)
    canonical = codes.canonical()
    slices, voxels = {}, {}
    for code, label in table.singletons().items():
        inside = (canonical.array == code).sum((1, 2))
        slices[label], voxels[label] = np.flatnonzero(inside), int(inside.sum())
    image_sum = files_sha256([case.image])
    meaning = [case.kind.value, case.annotated, case.label_map, case.split_left_right, own_space.names,
               *([case.ignored] if case.ignored else [])]
    rest = files_sha256([path for path in case.files() if path != case.image])
    return TakenCase(
        case.name, case.group, case.dataset, case.kind, case.weight, case.image.resolve(), target.resolve(),
        tuple(frozenset(np.flatnonzero(row).tolist()) for row in table.table), tuple(
            voxel_counts(codes.array, len(table.table)).tolist()), slices, voxels,
        working_shape(canonical.array.shape, canonical.grid.spacing[::-1], spacing_zyx),
        hashlib.sha256(json.dumps([image_sum, rest, meaning]).encode()).hexdigest(), image_sum)


def files_sha256(paths: Sequence[Path]) -> str:
    """Of the content of files, or of all files in a DICOM folder; names and times do not matter."""
    files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
    return hashlib.sha256("".join(sha256(file) for file in files if file.is_file()).encode()).hexdigest()


def fingerprint(cases: Sequence[TakenCase]) -> str:
    """SHA-256 of all that the cases say, in any order."""
    return hashlib.sha256("".join(sorted(case.sha256 for case in cases)).encode()).hexdigest()


def labelled_patch(case: TakenCase, patch_zyx: Sequence[int]) -> np.ndarray:
    """(z, y, x) uint8 of shape `patch_zyx`: the case's code map at the working spacing, canonical axes, around
    the middle of what is labelled.

    `OUTSIDE` where it reaches beyond the CT.
    """
    codes = codes_at(read_labelmap(case.codes).canonical().array, case.shape)
    places = np.argwhere(codes != UNKNOWN)
    middle = places.mean(0) if len(places) else np.array(codes.shape) / 2
    patch = np.full(tuple(patch_zyx), OUTSIDE, np.uint8)
    first = [round(float(np.clip(at - size / 2, 0, max(0, there - size))))
             for at, size, there in zip(middle, patch_zyx, codes.shape, strict=True)]
    found = codes[tuple(slice(a, a + size) for a, size in zip(first, patch_zyx, strict=True))]
    patch[tuple(slice(0, size) for size in found.shape)] = found
    return patch
