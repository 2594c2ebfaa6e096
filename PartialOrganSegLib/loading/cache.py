"""Cases at working spacing, kept on disk as memory-mapped arrays so that loader processes share them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from ..annotation import UNKNOWN, CandidateTable, Kind
from ..atomic import whole_file
from ..datasets.case import Case
from ..datasets.case_names import name_with_folder
from ..datasets.checking import CaseFaults
from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..imaging.body import find_body
from ..imaging.resampling import resample_box, working_shape
from ..imaging.shapes import Mask, Spacing3, VoxelArray
from ..imaging.volume import Volume
from ..organs import LabelSpace
from .cached_sets import read_checked, read_sets, write_sets
from .contents import Contents, digest, stamps
from .locking import locked, remove_unheld

# Raised when the same files would be cached as other images. The names of candidate maps' files end in what says that
# their codes have one for outside; so images cached before, by whose names checkpoints know their cases, stay.
CACHE_VERSION = 4
_ENDINGS = (".image.npy", ".candidates.npy", ".candidates.json")
TISSUE_HU = -300  # air teaches nothing as the middle of a patch
CandidateMap: TypeAlias = npt.NDArray[np.uint8]
Places: TypeAlias = npt.NDArray[np.int64]
POSITIONS = 400  # remembered per class and case; enough to draw patch centres from


@dataclass(frozen=True)
class CachedSoftTargets:
    """A teacher's probabilities of a case at working spacing. `sets` are the sets of classes that soft targets of the
    run speak of, `rows[k]` is which of them the teacher's class k stands for."""

    file: Path
    rows: tuple[int, ...]
    sets: tuple[tuple[int, ...], ...]

    def members(self, classes: int) -> torch.Tensor:
        """(M, classes) bool of `sets`."""
        members = torch.zeros(len(self.sets), classes, dtype=torch.bool)
        for row, chosen in zip(members, self.sets, strict=True):
            row[list(chosen)] = True
        return members

    def probabilities(self) -> npt.NDArray[np.uint8]:
        """(k, z, y, x) uint8, canonical axes; 255 is certain."""
        probabilities: npt.NDArray[np.uint8] = np.load(self.file, mmap_mode="r")
        return probabilities


@dataclass(frozen=True)
class CachedCase:
    """A case at working spacing. `positions[c]` are up to `POSITIONS` voxels (z, y, x) that certainly are class c,
    `table` has the candidate sets of the whole run.
    """

    case: Case
    image_file: Path
    codes_file: Path
    # From the codes on disk, which number the sets of this case alone, to those of the run.
    translation: npt.NDArray[np.uint8]
    positions: dict[int, Places]
    table: CandidateTable
    soft_targets: CachedSoftTargets | None = None

    @property
    def fully_labelled(self) -> bool:
        """Whether its annotation says of every voxel what it is: a fact of the case, whatever a patch of it shows."""
        return self.case.kind is Kind.FULL

    def image(self) -> npt.NDArray[np.int16]:
        """(z, y, x) int16 HU, canonical axes."""
        image: npt.NDArray[np.int16] = np.load(self.image_file, mmap_mode="r")
        return image

    def case_map(self) -> CandidateMap:
        """(z, y, x) uint8 codes of the case's own table, as on disk; `translation` turns them into the run's."""
        case_map: CandidateMap = np.load(self.codes_file, mmap_mode="r")
        return case_map

    def codes(self) -> CandidateMap:
        """(z, y, x) uint8 codes of the run's candidate table."""
        codes: CandidateMap = self.translation[self.case_map()]
        return codes


def cache_cases(cases: Sequence[Case], label_space: LabelSpace, table: CandidateTable,
                spacing_zyx: Spacing3, folder: Path, reporter: Reporter,
                air_is_background: bool = False, faults: CaseFaults | None = None) -> list[CachedCase]:
    """Resamples each case once; changed content, spacing or annotation makes it anew. Fills `table` on the way.

    A cached file that is damaged is reported and made anew too: the cache is only a copy.

    `air_is_background`: what lies outside the body is background whatever the masks of a case leave open. Not so in
    scribbles: among some hundred drawn voxels, half a million of air would be all that a mean speaks of.
    Candidate codes are assigned in the order of the cases, so the same manifest gives the same table. `faults`: those
    that are known before; with them all are reported, and the last is raised as UserError once every case was read.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(code=Code.NOT_WRITABLE, subject=folder,
                        expected="a folder for cached cases that can be written", found=error.strerror) from None
    contents = Contents(folder)
    cached = []
    if faults is None:
        faults = CaseFaults(cases)
    for number, case in enumerate(cases, 1):
        try:
            case.require_files()
        except UserError as error:
            faults.add(case, error)
        if case in faults:
            continue
        air = air_is_background and case.kind in (Kind.FULL, Kind.PARTIAL)
        image_file, codes_file, sets_file = files = _files(case, label_space, spacing_zyx, air, folder, contents)
        if not _usable(*files, label_space.class_count):
            _report_damage(files, reporter)
            try:
                _fill(case, label_space, spacing_zyx, air, files, reporter)
            except UserError as error:
                # A disk that is full is no fault of the case.
                if error.code is Code.NOT_WRITABLE:
                    raise error.within(case.name) from None
                faults.add(case, error)
                continue
            contents.save()  # an interrupted run does not read what it has read again
        remove_unheld(_lock_of(image_file))
        # Only now: which numbers the run's table gives depends on the cases before, which are other ones next time.
        translation = table.translation(read_sets(sets_file))
        positions = _positions(translation[np.load(codes_file)], np.load(image_file, mmap_mode="r"), table)
        cached.append(CachedCase(case, image_file, codes_file, translation, positions, table))
        reporter.progress("reading cases", number, len(cases))
    contents.save()
    faults.raise_any(reporter)
    return cached


def _files(case: Case, label_space: LabelSpace, spacing_zyx: Spacing3, air_is_background: bool, folder: Path,
           contents: Contents) -> tuple[Path, Path, Path]:
    """A case's cached image, candidate map and candidate sets, called after the content of what they are made from.

    Up to 0.4.0 they were called after the place and time of that; where such a file is, a run that began with it can
    still be resumed.
    """
    settings = [list(spacing_zyx), case.kind.value, case.annotated, case.label_map, case.split_left_right,
                case.only_mapped, air_is_background]
    if case.ignored:
        settings.append(case.ignored)
    if case.other_values:
        settings.append(case.other_values)
    sources = [path for path in case.files() if path != case.soft_targets]
    name = case.name
    try:
        former = digest([CACHE_VERSION, label_space.names, [stamps(path) for path in sources], *settings])
        key = former
        # A case whose file is called "image" was called after both up to 0.5.0.
        name_before = name_with_folder(case.image)
        if (folder / f"{name_before}-{former}{_ENDINGS[0]}").exists():
            name = name_before
        elif not (folder / f"{name}-{former}{_ENDINGS[0]}").exists():
            key = digest([CACHE_VERSION, label_space.names, [contents.of(path) for path in sources], *settings])
            if (folder / f"{name_before}-{key}{_ENDINGS[0]}").exists():
                name = name_before
    except OSError as error:
        raise UserError(code=Code.NOT_READABLE, subject=case.name, expected="files that can be read",
                        found=error.strerror or error) from None
    image_file, codes_file, sets_file = (folder / f"{name}-{key}{ending}" for ending in _ENDINGS)
    return image_file, codes_file, sets_file


def _usable(image_file: Path, codes_file: Path, sets_file: Path, class_count: int) -> bool:
    """Whether all three are there, whole and fit together."""
    try:
        # Not np.load, which takes other formats as well; a file that is cut short cannot be mapped.
        image, codes = (np.lib.format.open_memmap(file, mode="r") for file in (image_file, codes_file))
        sets = read_checked(sets_file, (image, codes), class_count)
    except (OSError, ValueError, EOFError, RecursionError):
        return False
    if image.ndim != 3 or image.dtype != np.int16 or codes.shape != image.shape or codes.dtype != np.uint8:
        return False
    return int(codes.max(initial=0)) < len(sets)


def _report_damage(files: Sequence[Path], reporter: Reporter) -> None:
    """Warns when all files of a case are there and still cannot be used; some missing are those of an ended run."""
    if all(file.exists() for file in files):
        reporter.warning(Problem(Code.FILE_DAMAGED, str(files[0]), "a whole cached case", "a damaged one",
                                 hint="it is made anew"))


def _fill(case: Case, label_space: LabelSpace, spacing_zyx: Spacing3, air_is_background: bool,
          files: tuple[Path, Path, Path], reporter: Reporter) -> None:
    """Writes a case's arrays, unless another process has done so while we waited for it."""
    folder = files[0].parent
    try:
        with locked(_lock_of(files[0])):
            if not _usable(*files, label_space.class_count):
                _write(case, label_space, spacing_zyx, air_is_background, *files, reporter)
    except OSError as error:
        raise UserError(code=Code.NOT_WRITABLE, subject=folder,
                        found=f"{case.name} could not be cached ({error.strerror or error})") from None


def _lock_of(image_file: Path) -> Path:
    """Held by the process that writes a case's files."""
    return image_file.with_suffix(".lock")


def _write(case: Case, label_space: LabelSpace, spacing_zyx: Spacing3, air_is_background: bool,
           image_file: Path, codes_file: Path, sets_file: Path, reporter: Reporter) -> None:
    image = case.read_image()
    table = CandidateTable(label_space.class_count)
    codes = Volume(case.read_codes(image, label_space, table, reporter), image.grid).canonical()
    canonical = image.canonical()
    shape = canonical.array.shape
    target = working_shape(shape, canonical.grid.spacing[::-1], spacing_zyx)
    everywhere = (slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2]))
    pixels = resample_box(canonical.array, everywhere, target).round().clamp(-1024, 32767).to(torch.int16).numpy()
    nearest = codes_at(codes.array, target)
    if air_is_background:
        box = (slice(0, target[0]), slice(0, target[1]), slice(0, target[2]))
        body = replace(find_body(pixels, spacing_zyx), box=box)
        nearest = _with_air(nearest, body.outside(pixels.shape), table)
    with whole_file(image_file) as temporary:
        np.save(temporary, pixels)
    with whole_file(codes_file) as temporary:
        np.save(temporary, nearest)
    write_sets(sets_file, [np.flatnonzero(row).tolist() for row in table.table], (pixels, nearest))


def codes_at(codes: CandidateMap, shape: Sequence[int]) -> CandidateMap:
    """(z, y, x) codes on a grid of `shape` in the same box: of the voxel at the middle, or, where that is unknown, of
    the nearest known one (along one axis after the other) whose own middle the new voxel holds.

    Strokes in single slices of a thin-sliced CT would mostly lie between the new middles and be lost.
    """
    for axis, target in enumerate(shape):
        codes = _codes_along(codes, axis, target)
    return codes


def _codes_along(codes: CandidateMap, axis: int, target: int) -> CandidateMap:
    """As `codes_at`, with `target` voxels along one axis."""
    size = codes.shape[axis]
    middle = np.minimum(((np.arange(target) + 0.5) * size / target).astype(int), size - 1)
    nearest: CandidateMap = codes.take(middle, axis)
    if not codes.any() or nearest.all():
        return nearest
    # Outwards from the middles, a voxel further on either side with each step, while the new voxel still holds it.
    holder = np.minimum(((np.arange(size) + 0.5) * target / size).astype(int), target - 1)
    distance = np.abs(np.arange(size) - middle[holder])
    for step in range(1, int(distance.max()) + 1):
        for side in (-1, 1):
            place = middle + side * step
            held = np.flatnonzero((place >= 0) & (place < size))
            held = held[holder[place[held]] == held]
            rows = nearest.take(held, axis)
            rows = np.where(rows == UNKNOWN, codes.take(place[held], axis), rows)
            nearest[(slice(None),) * axis + (held,)] = rows
    return nearest


def _with_air(codes: CandidateMap, air: Mask, table: CandidateTable) -> CandidateMap:
    """`codes` with background wherever there is `air` and the annotation allows background."""
    allowed = table.table[:, 0]
    return np.where(air & allowed[codes], np.uint8(table.code({0})), codes)


def _positions(codes: CandidateMap, image: VoxelArray, table: CandidateTable) -> dict[int, Places]:
    """Class -> (n, 3) voxels. The background counts only where it was drawn or fully labelled, not where merged."""
    generator = np.random.default_rng(0)
    positions: dict[int, Places] = {}
    present = np.unique(codes)
    for code, label in table.singletons().items():
        if code == UNKNOWN or code not in present:
            continue
        voxels = codes == code
        if label == 0:
            # Patches of air teach nothing, unless there is nothing else.
            tissue = voxels & (np.asarray(image) > TISSUE_HU)
            voxels = tissue if tissue.any() else voxels
        flat = np.flatnonzero(voxels)
        chosen = generator.choice(flat, min(POSITIONS, len(flat)), replace=False)
        positions[label] = np.stack(np.unravel_index(chosen, codes.shape), 1)
    return positions
