"""A case of a training run: an image, its annotation files and the organs that they annotate."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..annotation import CandidateTable, Kind, encode_labels, encode_scribble, label_candidates
from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..formats.reading import read_ct
from ..formats.strokes import NOT_DRAWN, paint_strokes, read_strokes
from ..formats.strokes_image import drawn_on
from ..imaging.shapes import LabelMap
from ..imaging.volume import ROUNDED_MM, Volume
from ..organs import BACKGROUND, LabelSpace
from ..yaml_file import BACKSLASH
from .harmonise import EITHER, LEFT, RIGHT, patient_midline, split_left_right
from .own_names import read_named_labels
from .segment_labels import read_organ_labels

_SILENT = Reporter()
# What `other_values` of a manifest can be, and the classes that such a voxel may be.
_OTHER_VALUES: dict[str, Callable[[LabelSpace], tuple[str, ...]]] = {
    "unknown": lambda space: (BACKGROUND, *space.names), "background": lambda space: (BACKGROUND,)}


@dataclass(frozen=True)
class Case:
    """One annotated image. `group` names the patient or source CT: cases of one group are held out together.

    `label_map`: label value -> organs it may be. `ignored`: organs whose values occur in the label but are not to be
    trusted: such a voxel is none of the annotated organs. `other_values`: what a value means that nothing names:
    "unknown" or "background"; empty where it is an error. `split_left_right`: label value of an organ without a side
    -> (left, right). `only_mapped`: a value that neither of the two names is an error, not the organ of that number.
    `soft_targets`: a teacher network's class probabilities of the image, see `datasets.soft_targets`. `weight`: of the
    case's data set, relative to 1, when cases are drawn. `own_names`: no manifest says what the values
    mean, so a table beside the label counts, see `datasets.own_names`.
    """

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
    split_left_right: tuple[tuple[int, tuple[str, str]], ...] = ()
    only_mapped: bool = False
    soft_targets: Path | None = None
    ignored: tuple[str, ...] = ()
    other_values: str = ""
    own_names: bool = False

    def files(self) -> list[Path]:
        """Every file (or DICOM folder) the case is read from."""
        return [path for path in (self.image, self.label, self.strokes, self.soft_targets) if path is not None]

    def require_files(self) -> None:
        """Raises UserError for the first file that is not there."""
        for path in self.files():
            if not path.exists():
                # Shown, the line's end of "C:\\new" looks like the path that was meant.
                hint = BACKSLASH if any(letter < " " for letter in str(path)) else ""
                raise UserError(code=Code.FILE_MISSING, expected=f"the file {path}", found="none", hint=hint)

    def read_image(self) -> Volume:
        """The image in HU. What `check` has accepted is not checked again."""
        self.require_files()
        return read_ct(self.image, force=True)

    def read_label(self, label_space: LabelSpace, reporter: Reporter = _SILENT) -> Volume:
        """The label as it is stored; the segments of a segmentation of 3D Slicer, and with `own_names` other values, by
        their names. Raises UserError."""
        assert self.label is not None
        if self.own_names:
            return read_named_labels(self.label, label_space, reporter, strokes=self.kind is Kind.SCRIBBLE)
        label_map: dict[int, Sequence[str]] = {**dict(self.label_map), **dict(self.split_left_right)}
        return read_organ_labels(self.label, label_space, reporter, label_map=label_map,
                                 strokes=self.kind is Kind.SCRIBBLE)

    def check_declared(self, label_space: LabelSpace) -> None:
        """Raises UserError for organs that a partial label holds and does not annotate: they were drawn here, so in
        other cases of the data set they may lie where there is background, or the manifest says too little."""
        if self.kind is not Kind.PARTIAL or self.label is None or self.other_values:
            return
        values, counts = np.unique(self.read_label(label_space).array, return_counts=True)
        mapped = {0, *dict(self.label_map), *dict(self.split_left_right)}
        undeclared = []
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            # What is beyond the label space is another fault.
            if value in mapped or value >= label_space.class_count:
                continue
            organ = label_space.names[value - 1]
            if organ not in (*self.annotated, *self.ignored):
                undeclared.append(f"{count} voxels of {organ} (value {value})")
        if undeclared:
            verb, them = ("is", "it") if len(undeclared) == 1 else ("are", "them")
            raise UserError(code=Code.UNKNOWN_LABEL, subject=self.label,
                            found=f"partial label holds {', '.join(undeclared)}, which {verb} not among its annotated "
                                  "organs", hint=f"add {them} to 'annotated', or to 'ignored'")

    def read_codes(self, grid_of: Volume, label_space: LabelSpace, table: CandidateTable,
                   reporter: Reporter = _SILENT) -> npt.NDArray[np.uint8]:
        """uint8 code map (z, y, x) on the grid of the image `grid_of`; strokes win over the label they are drawn on.

        Voxels whose side could not be decided are reported as a warning. Raises UserError when label and image differ
        in geometry or the label holds an unknown value.
        """
        self.require_files()
        codes = np.zeros(grid_of.array.shape, np.uint8)
        if self.label is not None:
            labels = self.read_label(label_space, reporter).in_order_of(grid_of.grid)
            if not labels.grid.same_as(grid_of.grid, ROUNDED_MM):
                raise UserError(code=Code.GEOMETRY_DIFFERS, subject=self.label,
                                expected=f"the geometry of {self.image.name}, "
                                         f"{grid_of.grid.differing_from(labels.grid)}")
            if self.kind is Kind.SCRIBBLE:
                codes = self._scribble_codes(labels.array, label_space, table)
            else:
                codes = self._label_codes(labels.array, grid_of, label_space, table, reporter)
        # Strokes are corrections of a label, so they are put over it.
        if self.strokes is not None:
            stroke_file = read_strokes(self.strokes)
            if not drawn_on(stroke_file, self.image):
                reporter.warning(Problem(Code.GEOMETRY_DIFFERS, f"{self.name}: {self.strokes}",
                                         f"strokes drawn on {self.image.name}", f"'{stroke_file.image}' as their image",
                                         "look whether they belong to this case"))
            strokes = paint_strokes(stroke_file, grid_of.grid, label_space)
            stroke_codes = encode_scribble(strokes.array, table)
            # Code 0 is where nothing was drawn, and the label below still counts.
            codes = np.where(stroke_codes > 0, stroke_codes, codes)
        return codes

    def _label_codes(self, labels: LabelMap, image: Volume, label_space: LabelSpace, table: CandidateTable,
                     reporter: Reporter) -> npt.NDArray[np.uint8]:
        """The code map of a dense label, with the organs of `split_left_right` split at the patient's midline."""
        meaning: dict[int, tuple[str, ...]] = dict(self.label_map) | dict(self.split_left_right)
        values, counts = np.unique(labels, return_counts=True)
        for value in values.tolist():
            if self.other_values and self._is_other(value, meaning, label_space):
                meaning[value] = _OTHER_VALUES[self.other_values](label_space)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            self._check_value(value, count, meaning, label_space)
        candidates = label_candidates(self.kind, self.annotated, meaning, label_space, values.tolist(), self.ignored)
        codes = encode_labels(labels, candidates, table)
        # An organ and its tumour that become one pair are one mask: the tumour lies on the side of its organ.
        values_of_pairs: dict[tuple[str, str], list[int]] = {}
        for value, pair in self.split_left_right:
            if value in candidates:
                values_of_pairs.setdefault(pair, []).append(value)
        midline = patient_midline(image) if values_of_pairs else None
        for pair, pair_values in values_of_pairs.items():
            split = split_left_right(np.isin(labels, pair_values), image.grid, midline)
            for side, classes in ((LEFT, pair[:1]), (RIGHT, pair[1:]), (EITHER, pair)):
                codes[split.sides == side] = table.code(self._candidates(label_space.indices(classes), label_space))
            for note in split.notes:
                reporter.warning(Problem(Code.SIDE_UNDECIDED, f"{self.name}: {self.label}",
                                         found=f"{' or '.join(pair)}: {note}"))
        return codes

    @staticmethod
    def _is_other(value: int, meaning: Mapping[int, tuple[str, ...]], label_space: LabelSpace) -> bool:
        """Whether nothing names a value. Where a label map does, the numbers of the label space mean nothing."""
        return value not in meaning and value != 0 and (bool(meaning) or value >= label_space.class_count)

    def _check_value(self, value: int, count: int, meaning: Mapping[int, tuple[str, ...]],
                     label_space: LabelSpace) -> None:
        """Raises UserError for a label value, in `count` voxels, that has no meaning."""
        if value in meaning or value == 0:
            return
        if self.only_mapped:
            expected = "0 or a label of the data set"
        elif value >= label_space.class_count:
            expected = f"0..{label_space.class_count - 1} or a value of label_map"
        else:
            return
        raise UserError(code=Code.UNKNOWN_LABEL, subject=f"{self.label}: label value {value} ({count} voxels)",
                        expected=expected)

    def _candidates(self, classes: Iterable[int], label_space: LabelSpace) -> frozenset[int]:
        """The candidate set of a voxel that is labelled as one of `classes`."""
        labelled = frozenset(classes)
        if not labelled & set(label_space.indices(self.ignored)):
            return labelled
        # An ignored label is not to be trusted: the voxel may be anything that the case does not annotate.
        return labelled | (frozenset(range(label_space.class_count)) - set(label_space.indices(self.annotated)))

    def ignored_voxels(self, label_space: LabelSpace) -> dict[str, int]:
        """How many voxels of the label have a value that means each of the `ignored` organs."""
        if not self.ignored or self.label is None:
            return {}
        meaning: dict[int, tuple[str, ...]] = {label_space.index(organ): (organ,) for organ in self.ignored}
        meaning |= dict(self.label_map) | dict(self.split_left_right)
        values, counts = np.unique(self.read_label(label_space).array, return_counts=True)
        voxels = dict.fromkeys(self.ignored, 0)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            classes = {label_space.index(name) for name in meaning.get(value, ())}
            if len(classes) == label_space.class_count:  # the value may be anything, so it labels no organ
                continue
            for organ in self.ignored:
                if label_space.index(organ) in classes:
                    voxels[organ] += count
        return voxels

    def _scribble_codes(self, labels: LabelMap, label_space: LabelSpace,
                        table: CandidateTable) -> npt.NDArray[np.uint8]:
        """The code map of a label with strokes: `NOT_DRAWN` where there is none."""
        meaning = {value: self._candidates(label_space.indices(names), label_space) for value, names in self.label_map}
        for value in label_space.indices(self.ignored):
            if value not in meaning:
                meaning[value] = self._candidates([value], label_space)
        values, counts = np.unique(labels, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            if value != NOT_DRAWN and value not in meaning and not 0 <= value < label_space.class_count:
                raise UserError(code=Code.UNKNOWN_LABEL, subject=self.label,
                                expected=f"0..{label_space.class_count - 1}, {NOT_DRAWN} (not drawn) or a value of "
                                         "label_map", found=f"{value} ({count} voxels)")
        return encode_scribble(labels, table, NOT_DRAWN, meaning)


@dataclass(frozen=True)
class Manifest:
    """All cases of a training run, in the manifest's order. `validation` is the share of groups to validate on.

    `joined`: further names of groups: a group that the manifest names, or that is called after its case, to the one
    that it was joined with because both are of one image or patient; a case that is called otherwise to its group.
    `stated`: names of the cases whose group the manifest states.
    """

    path: Path
    label_space: LabelSpace
    cases: tuple[Case, ...]
    validation: float = 0.0
    seed: int = 0
    joined: Mapping[str, str] = field(default_factory=dict)
    stated: frozenset[str] = frozenset()

    def group_called(self, name: str) -> str | None:
        """The group of that name, of that case, or the one that it was joined with; None where no case is of it."""
        group = self.joined.get(name, name)
        return group if any(case.group == group for case in self.cases) else None

    def group_names(self) -> set[str]:
        """Every name by which `group_called` knows a group."""
        names = {case.group for case in self.cases}
        return names | {name for name, group in self.joined.items() if group in names}

    def without(self, groups: Sequence[str]) -> list[Case]:
        """The cases whose group is not held out."""
        return [case for case in self.cases if case.group not in set(groups)]

    def validation_groups(self) -> list[str]:
        """Groups to validate on, sorted: the `validation` share of those with a full or partial label.

        The order in which groups are taken depends on the seed and their names alone, so that one case more moves few
        groups from one side to the other. Where a share is set, at least one group validates and at least one trains.
        """
        groups = {case.group for case in self.cases if case.kind in (Kind.FULL, Kind.PARTIAL)}
        if not self.validation or len(groups) < 2:
            return []
        count = min(max(round(self.validation * len(groups)), 1), len(groups) - 1)
        order = {group: hashlib.sha256(f"{self.seed}:{group}".encode()).digest() for group in groups}
        return sorted(sorted(groups, key=order.__getitem__)[:count])
