"""What a drawing calls the things that it shows: a name for each value of a label map, or for each mask."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import Code, Problem, UserError
from ..formats.registry import stem_of
from ..formats.slicer_segmentation import segments_of
from ..formats.volume_table import listed_volumes
from .case_names import telling_words, words_of
from .organ_list import Ask, OrganList
from .pairing import PairedCase
from .survey import Drawing, Form
from .value_names import ValueNames, own_table, table_beside, unread_table, value_names

# What the panel's user decided: such a segment is a label, also one of an organ that is not there.
_DECIDED = ("accepted", "absent")


@dataclass(frozen=True)
class Wishes:
    """What the user says of label maps: `label_map` is the option's text, `annotated` the organs to be learnt."""

    label_map: str | None = None
    annotated: Sequence[str] | None = None


@dataclass(frozen=True, eq=False)
class NamedDrawing:
    """A drawing with the names of its values. `undecided`: values that mean nothing, such as organs that nobody
    accepted. `absent`: organs that are known not to be in the image."""

    drawing: Drawing
    names: ValueNames = field(default_factory=dict)
    undecided: tuple[int, ...] = ()
    absent: tuple[str, ...] = ()

    def without(self, values: Collection[int]) -> NamedDrawing:
        """The same, where these of its named values mean nothing."""
        names = {value: name for value, name in self.names.items() if value not in values}
        return replace(self, names=names, undecided=(*self.undecided, *values))


def name_drawing(drawing: Drawing, case: PairedCase, folder: Path, wishes: Wishes, organs: OrganList,
                 ask: Ask | None) -> NamedDrawing:
    """The names of a drawing's values; strokes carry theirs. Raises UserError where they are not known."""
    if drawing.form is Form.STROKES:
        return NamedDrawing(drawing)
    if drawing.structures is not None:
        return NamedDrawing(drawing, dict(enumerate(drawing.structures.names, 1)))
    if drawing.form is Form.SEGMENTS:
        return _named_segments(drawing)
    if drawing.form is Form.LABELS and not drawing.values:
        raise UserError(code=Code.NO_LABELS, subject=drawing.path, expected="a voxel of an organ", found="none")
    return NamedDrawing(drawing, _names_of_values(drawing, case, folder, wishes, organs, ask))


def _named_segments(drawing: Drawing) -> NamedDrawing:
    """A segmentation of Slicer: where some segment was reviewed in the panel, only those that were decided count."""
    segments = segments_of(drawing.path)
    reviewed = any(segment.state for segment in segments)
    names: ValueNames = {}
    undecided, absent = [], []
    for segment in segments:
        # What a model predicted and nobody looked at is no label.
        is_label = not reviewed or segment.state in _DECIDED
        if segment.value not in drawing.values:
            if segment.state == "absent":
                absent.append(segment.name)
        elif is_label:
            names[segment.value] = segment.name
        else:
            undecided.append(segment.value)
    if not names and not absent:
        raise UserError(code=Code.NO_LABELS, subject=drawing.path, expected="a segment that was accepted or drawn",
                        found="none")
    return NamedDrawing(drawing, names, tuple(undecided), tuple(absent))


def _names_of_values(drawing: Drawing, case: PairedCase, folder: Path, wishes: Wishes, organs: OrganList,
                     ask: Ask | None) -> ValueNames:
    """By the file's name where it is an organ's, by a table beside the file, by any other name of a mask, by
    `--label-map`, by `--annotated`, or by asking."""
    words = ""
    if len(drawing.values) == 1 and drawing.form is Form.LABELS:
        words = telling_words(drawing.path, words_of(case.name))
        # Of a CT "late" in the folders of several patients, whose cases are "a_late" and "b_late".
        beside_ct = telling_words(drawing.path, words_of(stem_of(case.ct.path)))
        if words and beside_ct and not organs.known(words) and organs.known(beside_ct):
            words = beside_ct
    # A table for a whole folder is one of its label maps: in it the 1 of every mask of one organ has a name too.
    if words and organs.known(words):
        return _as_called(drawing, words, organs)
    table = table_beside(drawing.path, folder)
    if drawing.form is Form.SCRIBBLES:
        # Before one of the whole folder, which is of masks.
        table = own_table(drawing.path) or _organs_of_correction(drawing) or table
    if not table and words:
        return {drawing.values[0]: words}
    if not table and wishes.label_map is not None:
        table = value_names(wishes.label_map)
    if not table and wishes.annotated is not None and len(wishes.annotated) == 1 and len(drawing.values) == 1:
        return {drawing.values[0]: wishes.annotated[0]}
    # Where nothing says which model's numbers these are, they are those of the model that is to learn.
    if not table and drawing.form is Form.SCRIBBLES:
        table = {organ.index: organ.name for organ in organs.space.organs}
    if not table and ask is not None:
        table = _answer(drawing, ask)
    if not table:
        raise _nameless(drawing, unread_table(drawing.path, folder))
    missing = [value for value in drawing.values if value not in table]
    if missing:
        raise UserError(code=Code.UNKNOWN_LABEL, subject=drawing.path, expected="a name for every value",
                        found=f"none for {', '.join(map(str, missing))}", hint="name them with --label-map")
    return {value: table[value] for value in drawing.values}


def _organs_of_correction(drawing: Drawing) -> ValueNames:
    """Of strokes that `refine` wrote when it kept no table of them: the organs whose volumes lie beside, which are all
    of the model's. Empty where none do."""
    ending = ".scribble.nii.gz"
    if not drawing.path.name.endswith(ending):
        return {}
    return dict(enumerate(listed_volumes(drawing.path, ending), 1))


def _as_called(drawing: Drawing, words: str, organs: OrganList) -> ValueNames:
    """The names of a mask whose file is called after an organ. Raises UserError where its own table says another."""
    value = drawing.values[0]
    table = own_table(drawing.path)
    if value in table and organs.known(table[value]) != organs.known(words):
        raise UserError(code=Code.SETTINGS_CONFLICT, subject=drawing.path,
                        expected=f"a table that calls its value {value} {words.replace('_', ' ')}, as the file",
                        found=table[value])
    return {value: table.get(value, words)}


def _answer(drawing: Drawing, ask: Ask) -> ValueNames:
    """The names that the user gives; empty where they give none."""
    values = ", ".join(map(str, drawing.values[:12]))
    answer = ask(f"{drawing.path}: what do the values {values} mean? (1=liver,2=spleen, a table's file, or a known "
                 "list such as word16; Enter leaves the file out) ").strip()
    if not answer:
        return {}
    return value_names(answer)


def _nameless(drawing: Drawing, unread: Path | None) -> UserError:
    values = ", ".join(map(str, drawing.values[:12]))
    found = f"{values} and no table beside it"
    if unread is not None:
        found = f"{values}, and in {unread.name} no line such as 1,liver"
    hint = "--label-map 1=liver,2=spleen or word16, or --annotated liver for a file of one organ, says it"
    return UserError(Problem(Code.UNKNOWN_LABEL, str(drawing.path), "to know which organs its values are",
                             found, hint))
