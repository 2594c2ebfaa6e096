"""What all drawings on one CT say together: the case's kind, its organs, and what each value means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..annotation import Kind
from ..datasets.structure_names import meanings, parse_structure
from ..errors import Code, UserError
from ..organs import BACKGROUND
from .drawn_names import NamedDrawing
from .label_maps import MaskSource
from .organ_list import OrganList, how_to_add
from .survey import Form


@dataclass
class Labelling:
    """What a manifest says of a case. `label` is a file that is used as it is; `sources` have to be put together into
    one first, whose values are counted through them. `undecided`: values of what is not to be learnt."""

    kind: Kind = Kind.UNLABELLED
    label: Path | None = None
    sources: list[MaskSource] = field(default_factory=list)
    strokes: Path | None = None
    annotated: list[str] = field(default_factory=list)
    label_map: dict[int, list[str]] = field(default_factory=dict)
    split_left_right: dict[int, tuple[str, str]] = field(default_factory=dict)
    undecided: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def shown(self) -> set[str]:
        """The organs of which something is known, a half of one or one of two as well."""
        shown = {*self.annotated}
        for names in (*self.label_map.values(), *self.split_left_right.values()):
            if BACKGROUND not in names:
                shown.update(names)
        return shown

    @property
    def files(self) -> list[Path]:
        """All that the case is labelled by."""
        files = [source.path for source in self.sources]
        return [path for path in (self.label, *files, self.strokes) if path is not None]


def label_case(drawings: Sequence[NamedDrawing], organs: OrganList) -> Labelling:
    """The labelling of one CT. Raises UserError for two files that say different things of one organ, and for two
    files of strokes."""
    result = Labelling()
    dense = [named for named in drawings if named.drawing.form not in (Form.STROKES, Form.SCRIBBLES)]
    scribbles = [named for named in drawings if named.drawing.form is Form.SCRIBBLES]
    strokes = [named for named in drawings if named.drawing.form is Form.STROKES]
    if len(strokes) + len(scribbles) > 1:
        paths = [named.drawing.path for named in (*strokes, *scribbles)]
        raise UserError(code=Code.SETTINGS_CONFLICT, subject=paths[0], expected="one file of strokes for a CT",
                        found=f"{paths[1].name} too", hint="--leave-out NAME leaves one out")
    if scribbles and dense:
        raise UserError(code=Code.SETTINGS_CONFLICT, subject=scribbles[0].drawing.path,
                        expected="masks or a map of strokes for a CT",
                        found=f"{dense[0].drawing.path.name} too", hint="--leave-out NAME leaves one out")
    if strokes:
        _add_strokes(strokes[0], organs, result)
    if scribbles:
        _add_scribbles(scribbles[0], organs, result)
    elif dense:
        _add_masks(dense, organs, result)
    return result


def _add_strokes(named: NamedDrawing, organs: OrganList, result: Labelling) -> None:
    """Strokes in a file name their organs themselves; every one of them has to be known."""
    assert named.drawing.strokes is not None
    drawn = dict.fromkeys(stroke.organ for stroke in named.drawing.strokes.strokes)
    unknown = [name for name in drawn if name.lower() != BACKGROUND and name not in organs.space.names
               and name.lower().replace(" ", "_") not in organs.space.names]
    if unknown:
        raise UserError(code=Code.UNKNOWN_NAME, subject=named.drawing.path, expected="strokes of known organs",
                        found=f"'{unknown[0]}'", hint=how_to_add(unknown[0]))
    if not drawn:
        raise UserError(code=Code.NO_LABELS, subject=named.drawing.path, expected="a stroke", found="none")
    result.kind, result.strokes = Kind.SCRIBBLE, named.drawing.path
    result.annotated = [name for name in organs.space.names if name in drawn or name.replace("_", " ") in drawn]


def _add_scribbles(named: NamedDrawing, organs: OrganList, result: Labelling) -> None:
    understood = meanings(named.names, organs.space)
    result.kind, result.label = Kind.SCRIBBLE, named.drawing.path
    result.annotated, result.label_map = understood.annotated, dict(understood.label_map)
    # Strokes are drawn on one side: what a name without a side leaves open stays open.
    result.label_map |= {value: list(pair) for value, pair in understood.split_left_right.items()}
    result.notes += understood.notes
    _drop_plain_values(result, organs)


def _add_masks(dense: Sequence[NamedDrawing], organs: OrganList, result: Labelling) -> None:
    """One label map is used as it is; several files, and structures in DICOM, are put together."""
    names: dict[int, str] = {}
    undecided = result.undecided
    for named in dense:
        offset = len(names) + len(undecided)
        alone = len(dense) == 1 and named.drawing.structures is None
        values = [*named.names, *named.undecided]
        # Files that are put together get values of their own, in the order of the files.
        new_values = dict(zip(values, range(offset + 1, offset + len(values) + 1), strict=True))
        if alone:
            new_values = {value: value for value in values}
        for value, name in named.names.items():
            if organs.organs(name):
                names[new_values[value]] = organs.meant_by(name)
            else:
                undecided.append(new_values[value])
        undecided += [new_values[value] for value in named.undecided]
        if alone:
            result.label = named.drawing.path
        else:
            result.sources.append(MaskSource(named.drawing, new_values))
    _refuse_two_of_one_organ(dense, organs)
    understood = meanings(names, organs.space)
    result.notes += understood.notes
    absent: set[str] = set()
    for named in dense:
        for name in named.absent:
            absent.update(organs.organs(name))
    result.annotated = [name for name in organs.space.names if name in understood.annotated or name in absent]
    result.label_map, result.split_left_right = dict(understood.label_map), dict(understood.split_left_right)
    # What is there and not to be learnt is something other than the organs that are.
    unannotated = [BACKGROUND, *(name for name in organs.space.names if name not in result.annotated)]
    for value in undecided:
        result.label_map[value] = unannotated
    if not result.annotated and not result.label_map and not result.split_left_right:
        result.label, result.sources = None, []
        return
    result.kind = Kind.PARTIAL
    if not result.annotated:
        # One half of an organ, for one: where it is, is known, where it is not, is not.
        result.annotated = [name for name in organs.space.names if name in result.shown]
        result.label_map[0] = [BACKGROUND, *organs.space.names]
    if not result.annotated:
        raise UserError(code=Code.NO_LABELS, subject=dense[0].drawing.path, expected="an organ to be learnt",
                        found="none", hint="--annotated and --new-organ say which")
    # A segmentation's values mean nothing without a label map that names all of them.
    if not result.sources and dense[0].drawing.form is not Form.SEGMENTS:
        _drop_plain_values(result, organs)


def _refuse_two_of_one_organ(dense: Sequence[NamedDrawing], organs: OrganList) -> None:
    """Two files that each show one organ would have to agree voxel by voxel; which one counts, only the user knows."""
    first: dict[str, Path] = {}
    for named in dense:
        for name in named.names.values():
            structure, organs_of_name = parse_structure(name), organs.organs(name)
            # A tumour is part of its organ, and a left adrenal half of the adrenals.
            if structure.lesion or len(organs_of_name) != 1:
                continue
            organ = organs_of_name[0]
            if structure.side != parse_structure(organ).side:
                continue
            path = first.setdefault(organ, named.drawing.path)
            if path != named.drawing.path:
                raise UserError(code=Code.SETTINGS_CONFLICT, subject=named.drawing.path,
                                expected=f"one file with the {organ} of a CT", found=f"{path.name} too",
                                hint="--leave-out NAME leaves one out")


def _drop_plain_values(result: Labelling, organs: OrganList) -> None:
    """Leaves out of the label map what a manifest means without it: the organ of that number."""
    for value, names in list(result.label_map.items()):
        if 0 < value < organs.space.class_count and names == [organs.space.names[value - 1]]:
            del result.label_map[value]
