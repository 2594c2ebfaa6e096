"""What the label names of a foreign data set mean in a label space: "Kidney (L)", "gall_bladder", "liver tumour".

Names are compared by their words: capitals, order of the side, separators, plurals and common synonyms do not matter.
What a name does not say is not guessed; it becomes a wider candidate set (`annotation`), never a wrong organ.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..organ_records import Organs, known_organs
from ..organs import BACKGROUND, LabelSpace

_SIDES = {"left": "left", "l": "left", "lt": "left", "right": "right", "r": "right", "rt": "right"}
_FILLERS = {"of", "the", "and", "gland", "glands", "organ", "whole"}
_LESIONS = {"tumor", "tumors", "tumour", "tumours", "cancer", "carcinoma", "lesion", "lesions", "cyst", "cysts", "mass",
            "masses", "metastasis", "metastases", "primary", "primaries"}
_INSIDE_ORGANS = {"vessel", "vein", "artery", "duct", "vasculature"}
# Words whose plural occurs in names beside those of the organs' own words.
_COUNTED = {"vessel", "vein", "duct", "bowel", "artery"}
_IRREGULAR_PLURALS = {"femora": "femur", "arteries": "artery"}


@dataclass(frozen=True)
class Structure:
    """A name's meaning: `base` ("kidney", "head femur"; empty for a bare "tumour"), `side`, and if it is a lesion."""

    base: str
    side: str | None = None
    lesion: bool = False


@dataclass
class Meanings:
    """`label_map` and `split_left_right` as in a manifest; organs `annotated` completely; `notes` for the user."""

    label_map: dict[int, list[str]] = field(default_factory=dict)
    split_left_right: dict[int, tuple[str, str]] = field(default_factory=dict)
    annotated: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class _Found:
    """Organs a structure may be, which of them it covers completely, and (left, right) where it must be split."""

    one_of: list[str]
    whole: set[str]
    half: tuple[str, str] | None = None  # (organ, side) of an organ that our label space does not divide
    split: tuple[str, str] | None = None


def parse_structure(name: str) -> Structure:
    """The meaning of a label name. "Left Kidney", "kidney_l" and "LeftKidney" are the same."""
    lexicon = _lexicon(known_organs())
    words = [lexicon.singular(word) for word in _words(name)]
    base, side = _base_and_side(words)
    meant = lexicon.synonyms.get(base)
    if meant is not None:
        base, side = meant.base, side or meant.side
    return Structure(base, side, any(word in _LESIONS for word in words))


@dataclass(frozen=True)
class _Lexicon:
    """The words of the organ records. `synonyms`: what others call an organ, and which it is; `coarse`: bases that say
    less than one organ, with the bases that they surely and perhaps cover; `may_include`: base to base."""

    words: frozenset[str]
    synonyms: Mapping[str, Structure]
    coarse: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
    may_include: Mapping[str, tuple[str, ...]]

    def singular(self, word: str) -> str:
        """`kidneys` is `kidney`; a word that no organ has stays as it is."""
        if word in _IRREGULAR_PLURALS:
            return _IRREGULAR_PLURALS[word]
        if word.endswith("s") and word not in self.words and word[:-1] in self.words:
            return word[:-1]
        return word


@functools.lru_cache(maxsize=8)
def _lexicon(organs: Organs) -> _Lexicon:
    bases = {name: _base_and_side(_words(name)) for name in organs.records}
    words = {word for base, _ in bases.values() for word in base.split()} | _COUNTED
    plain = _Lexicon(frozenset(words), {}, {}, {})
    synonyms: dict[str, Structure] = {}
    may_include: dict[str, tuple[str, ...]] = {}
    known = {base for base, _ in bases.values()}
    for name, record in organs.records.items():
        base, side = bases[name]
        for other in record.names.all_names():
            theirs, their_side = _base_and_side([plain.singular(word) for word in _words(other)])
            if theirs not in known:  # a name without a side of an organ that has one: an abbreviation such as LK
                synonyms.setdefault(theirs, Structure(base, side if their_side is None else None))
        if record.may_include:
            may_include[base] = tuple(bases[included][0] for included in record.may_include)
    coarse = {}
    for group in organs.groups:
        covered = (tuple(_bases_of(group.surely, bases)), tuple(_bases_of(group.perhaps, bases)))
        for name in group.names:
            coarse[_base_and_side(_words(name))[0]] = covered
    return _Lexicon(frozenset(words), synonyms, coarse, may_include)


def _bases_of(organs: Sequence[str], bases: Mapping[str, tuple[str, str | None]]) -> list[str]:
    """Each base once, left and right being of one."""
    return list(dict.fromkeys(bases[organ][0] if organ in bases else organ for organ in organs))


def _words(name: str) -> list[str]:
    """The words of a name in small letters, without those that say nothing."""
    words = re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    return [word for word in words if word and word not in _FILLERS]


def _base_and_side(words: Sequence[str]) -> tuple[str, str | None]:
    sides = {_SIDES[word] for word in words if word in _SIDES}
    base = " ".join(word for word in words if word not in _SIDES and word not in _LESIONS)
    return base, sides.pop() if len(sides) == 1 else None


def meanings(labels: Mapping[int, str], label_space: LabelSpace) -> Meanings:
    """What each label value means in `label_space`. Every value but the background 0 gets a meaning of its own.

    - An organ: itself; without a side where we have two: to be split; several values of one organ are merged.
    - A lesion: its organ (Shi 2021: tumours are merged into their organ), or the one organ that the data set has.
    - "ignore", and what may lie inside an organ (vessels, lesions of we do not know what): anything.
    - Any other name: whatever the background of the data set may be, i.e. no organ that is annotated.
    """
    result = Meanings()
    structures = {value: parse_structure(name) for value, name in labels.items() if value != 0}
    targets = _by_base(label_space)
    found = {value: _find(structure, targets) for value, structure in structures.items() if structure.base}
    _doubt_wider_labels(structures, found, targets, result.notes)
    organs = {value: match for value, match in found.items() if match and not structures[value].lesion}
    halves = {match.half for match in organs.values() if match.half}
    whole = {organ for match in organs.values() for organ in match.whole}
    whole |= {organ for organ, _ in halves if {(organ, "left"), (organ, "right")} <= halves}
    result.annotated = [organ for organ in label_space.names if organ in whole]
    rest = [BACKGROUND, *(organ for organ in label_space.names if organ not in whole)]
    anything = [BACKGROUND, *label_space.names]
    only = _only_organ(structures, organs)
    unmatched = []
    for value, structure in structures.items():
        match = found.get(value) if structure.base else only if structure.lesion else None
        name = labels[value]
        if name.strip().lower() == "ignore":
            result.label_map[value] = anything
        elif match and match.split:
            result.split_left_right[value] = match.split
        elif match:
            result.label_map[value] = match.one_of
        elif structure.lesion or _may_lie_inside(structure):
            result.label_map[value] = anything
            result.notes.append(f"'{name}' (value {value}): of which organ is not known; taken as unlabelled")
        else:
            result.label_map[value] = rest
            unmatched.append(name)
        if match and structure.lesion:
            organ = " or ".join(match.split or match.one_of)
            result.notes.append(f"'{name}' (value {value}): merged into {organ}")
    if unmatched:
        result.notes.append(f"no organ of {label_space.name}: {', '.join(unmatched)}; taken as background, or an organ "
                            f"that is not annotated")
    return result


def _by_base(label_space: LabelSpace) -> dict[str, dict[str | None, str]]:
    """base -> side (or None) -> organ name."""
    targets: dict[str, dict[str | None, str]] = {}
    for name in label_space.names:
        structure = parse_structure(name)
        targets.setdefault(structure.base, {})[structure.side] = name
    return targets


def _find(structure: Structure, targets: Mapping[str, Mapping[str | None, str]]) -> _Found | None:
    sides = targets.get(structure.base)
    if sides is None:
        return _find_coarse(structure, targets)
    if structure.side in sides:
        return _Found([sides[structure.side]], {sides[structure.side]})
    if structure.side is None and {"left", "right"} <= set(sides):
        pair = (sides["left"], sides["right"])
        return _Found(list(pair), set(pair), split=pair)
    if None in sides:  # e.g. a left adrenal, where ours is both
        assert structure.side is not None
        return _Found([sides[None]], set(), half=(sides[None], structure.side))
    return None


def _find_coarse(structure: Structure, targets: Mapping[str, Mapping[str | None, str]]) -> _Found | None:
    surely, besides = _lexicon(known_organs()).coarse.get(structure.base, ((), ()))
    one_of: list[str] = []
    whole: set[str] = set()
    beyond = False
    for base in (*surely, *besides):
        match = _find(Structure(base, structure.side), targets)
        if match is None:
            beyond = True
        else:
            one_of += match.one_of
            whole |= match.whole if base in surely else set()
    return _Found([BACKGROUND, *one_of] if beyond else one_of, whole) if one_of else None


def _doubt_wider_labels(structures: Mapping[int, Structure], found: dict[int, _Found | None],
                        targets: Mapping[str, Mapping[str | None, str]], notes: list[str]) -> None:
    """An organ that may have another in it, as TotalSegmentator's colon has the rectum: no label of the data set names
    that one."""
    lexicon = _lexicon(known_organs())
    for base, inclusions in lexicon.may_include.items():
        for included in inclusions:
            organ = targets.get(included, {}).get(None)
            if organ is None or any(_mentions(structure, included, lexicon) for structure in structures.values()):
                continue
            for value, structure in structures.items():
                match = found.get(value)
                if structure.base == base and not structure.lesion and match:
                    match.one_of.append(organ)
                    notes.append(f"'{base}' (value {value}): no label names the {organ}, which it may include; taken "
                                 f"as one of both (say otherwise with a label_map)")


def _mentions(structure: Structure, base: str, lexicon: _Lexicon) -> bool:
    surely, perhaps = lexicon.coarse.get(structure.base, ((), ()))
    return base in (structure.base, *surely, *perhaps)


def _only_organ(structures: Mapping[int, Structure], organs: Mapping[int, _Found]) -> _Found | None:
    """The organ that a bare "tumour" belongs to: the data set's only one, of unknown side where it has two."""
    if len({structures[value].base for value in organs}) != 1:
        return None
    matches = list(organs.values())
    if len(matches) == 1:
        return matches[0]
    return _Found(list(dict.fromkeys(organ for match in matches for organ in match.one_of)), set())


def _may_lie_inside(structure: Structure) -> bool:
    known = {parse_structure(name).base for name in known_organs().records}
    return structure.base not in known and any(word in _INSIDE_ORGANS for word in structure.base.split())
