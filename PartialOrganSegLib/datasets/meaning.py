"""What the values of a case's label mean: the organs it annotates, those it ignores, and the organ of each value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ..annotation import Kind
from ..errors import Code, UserError
from ..organs import BACKGROUND, LabelSpace
from .manifest_file import CaseEntry, DatasetEntry

ANYTHING = "unknown"  # in a label_map: a voxel of that value may be anything
T = TypeVar("T")


@dataclass(frozen=True)
class LabelMeaning:
    """Organs by their names in the label space; see `case.Case`."""

    kind: Kind
    annotated: tuple[str, ...]
    ignored: tuple[str, ...]
    label_map: tuple[tuple[int, tuple[str, ...]], ...]
    split_left_right: tuple[tuple[int, tuple[str, str]], ...]


def meaning_of(dataset: DatasetEntry, entry: CaseEntry, kind: Kind, label_space: LabelSpace,
               where: str) -> LabelMeaning:
    """The meaning from a case's entry, and where that says nothing, from its data set.

    A case may ignore an organ that its data set annotates, and annotate one that this ignores. A full label of which
    some organs are ignored is a partial one of the others. Raises UserError, beginning with `where`.
    """
    label_map = _first(entry.label_map, dataset.label_map)
    split = _first(entry.split_left_right, dataset.split_left_right)
    annotated = _organs(_first(entry.annotated, dataset.annotated or []), "annotated", label_space, where)
    ignored = _organs(_first(entry.ignored, dataset.ignored), "ignored", label_space, where)
    conflicting = [organ for organ in ignored if organ in annotated]
    if conflicting and (entry.annotated is None) == (entry.ignored is None):
        raise UserError(code=Code.SETTINGS_CONFLICT, subject=f"{where}: {conflicting[0]}",
                        expected="an organ either annotated or ignored", found="it under both")
    # Only one of the two lists is the case's; it decides on organs that the other list has as well.
    if entry.annotated is None:
        annotated = tuple(organ for organ in annotated if organ not in conflicting)
    else:
        ignored = tuple(organ for organ in ignored if organ not in conflicting)
    # Its background is then not to be trusted either: it may hold the ignored organs.
    if kind is Kind.FULL and ignored:
        kind, annotated = Kind.PARTIAL, tuple(organ for organ in label_space.names if organ not in ignored)
    named = {value: _named(value, names, label_space, where) for value, names in label_map.items()}
    _check_split(split, named, label_space, where)
    return LabelMeaning(kind, annotated, ignored, tuple(named.items()), tuple(split.items()))


def _first(setting: T | None, default: T) -> T:
    return default if setting is None else setting


def _organs(names: Sequence[str], key: str, label_space: LabelSpace, where: str) -> tuple[str, ...]:
    """The organs' names as the label space writes them. Raises UserError for an unknown one and for the background."""
    organs = []
    for name in names:
        try:
            organs.append(label_space.index(name))
        except UserError as error:
            hint = f"{error.hint}; a new organ is added by a line of the manifest, new_organs: [{name}]"
            raise UserError(replace(error.problem, hint=hint)).within(where) from None
    if 0 in organs:
        raise UserError(code=Code.VALUE_UNFIT, subject=f"{where}: {key}", expected="organs",
                        found=f"'{names[organs.index(0)]}'")
    return tuple(label_space.names[index - 1] for index in organs)


def _named(value: int, names: Sequence[str], label_space: LabelSpace, where: str) -> tuple[str, ...]:
    """The classes that a value of the label map may be."""
    if ANYTHING in names and ANYTHING not in label_space.names:
        if len(names) > 1:
            raise UserError(code=Code.VALUE_UNFIT, subject=f"{where}: label_map: {value}",
                            expected=f"'{ANYTHING}' alone or names of organs", found=list(names))
        return (BACKGROUND, *label_space.names)
    try:
        label_space.indices(names)
    except UserError as error:
        raise error.within(where) from None
    return tuple(names)


def _check_split(split: Mapping[int, tuple[str, str]], label_map: Mapping[int, Sequence[str]], label_space: LabelSpace,
                 where: str) -> None:
    """Raises UserError for a value with two meanings, and for a pair that is not a left and a right organ."""
    try:
        paired = [label_space.indices(pair) for pair in split.values()]
    except UserError as error:
        raise error.within(where) from None
    for value, (left_organ, right_organ) in zip(split, paired, strict=True):
        pair = (left_organ, right_organ)
        if value in label_map or value == 0 or 0 in pair or left_organ == right_organ:
            raise UserError(code=Code.VALUE_UNFIT, subject=f"{where}: split_left_right: {value}",
                            expected="a value that is neither 0 nor in label_map, and two organs, left then right",
                            found=list(split[value]))
        # Swapped sides would be learnt without any other sign of it.
        if pair[::-1] in label_space.mirrored:
            raise UserError(code=Code.VALUE_UNFIT, subject=f"{where}: split_left_right: {value}",
                            expected="the left organ first", found=list(split[value]))
