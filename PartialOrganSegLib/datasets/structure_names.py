"""What the label names of a foreign data set mean in a label space: "Kidney (L)", "gall_bladder", "liver tumour".

Names are compared by their words: capitals, order of the side, separators, plurals and common synonyms do not matter.
What a name does not say is not guessed; it becomes a wider candidate set (`annotation`), never a wrong organ.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..organ_records import OrganRecord, Organs, known_organs
from ..organs import BACKGROUND, LabelSpace

_SIDES = {"left": "left", "l": "left", "lt": "left", "right": "right", "r": "right", "rt": "right"}
_IGNORED_WORDS = {"of", "the", "and", "gland", "glands", "organ", "whole"}
_LESIONS = {"tumor", "tumors", "tumour", "tumours", "cancer", "carcinoma", "lesion", "lesions", "cyst", "cysts", "mass",
            "masses", "metastasis", "metastases", "primary", "primaries"}
_INSIDE_ORGANS = {"vessel", "vein", "artery", "duct", "vasculature"}
# Words whose plural occurs in names, beside the words of the organs themselves.
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
class _Match:
    """Organs a structure may be, which of them it covers `completely`, and (left, right) where it must be split."""

    one_of: list[str]
    completely: set[str]
    half: tuple[str, str] | None = None  # (organ, side) of an organ that our label space does not divide
    split: tuple[str, str] | None = None


def parse_structure(name: str) -> Structure:
    """The meaning of a label name. "Left Kidney", "kidney_l" and "LeftKidney" are the same."""
    lexicon = _lexicon(known_organs())
    words = [lexicon.singular(word) for word in _words(name)]
    base, side = _base_and_side(words)
    synonym = lexicon.synonyms.get(base)
    if synonym is not None:
        base, side = synonym.base, side or synonym.side
    return Structure(base, side, any(word in _LESIONS for word in words))


def organs_named(name: str, label_space: LabelSpace) -> tuple[str, ...] | None:
    """The organs of a label space that a name may mean: several for "kidney", none for an organ that the space does not
    have. None where the name is no organ's at all.

    >>> from PartialOrganSegLib.organs import WORD16
    >>> organs_named("Left Kidney", WORD16), organs_named("kidney", WORD16)
    (('left_kidney',), ('left_kidney', 'right_kidney'))
    >>> organs_named("aorta", WORD16), organs_named("Segment_1", WORD16)
    ((), None)
    """
    for organ in label_space.organs:
        if name.strip().lower().replace(" ", "_") == organ.name:
            return (organ.name,)
    structure = parse_structure(name)
    match = _match(structure, _by_base(label_space)) if structure.base else None
    if match is not None:
        return tuple(match.one_of)
    if any(parse_structure(organ).base == structure.base for organ in known_organs().records):
        return ()
    return None


@dataclass(frozen=True)
class _Lexicon:
    """The words of the organ records.

    `synonyms`: other names of an organ, and the organ each means; `coarse`: bases that say less than one organ, with
    the bases that they surely and perhaps cover; `may_include`: base to the bases it may include.
    """

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
    words = set(_COUNTED)
    for base, _ in bases.values():
        words.update(base.split())
    plurals_only = _Lexicon(frozenset(words), {}, {}, {})
    may_include = {}
    for name, record in organs.records.items():
        if record.may_include:
            may_include[bases[name][0]] = tuple(bases[included][0] for included in record.may_include)
    coarse = {}
    for group in organs.groups:
        covered = (tuple(_bases_of(group.surely, bases)), tuple(_bases_of(group.perhaps, bases)))
        for name in group.names:
            coarse[_base_and_side(_words(name))[0]] = covered
    return _Lexicon(frozenset(words), _synonyms(organs.records, bases, plurals_only), coarse, may_include)


def _synonyms(records: Mapping[str, OrganRecord], bases: Mapping[str, tuple[str, str | None]],
              lexicon: _Lexicon) -> dict[str, Structure]:
    """Base of each other name of an organ, unless it is an organ's base itself, to the organ that it means."""
    organ_bases = {base for base, _ in bases.values()}
    synonyms: dict[str, Structure] = {}
    for name, record in records.items():
        base, side = bases[name]
        for synonym in record.names.all_names():
            synonym_base, synonym_side = _base_and_side([lexicon.singular(word) for word in _words(synonym)])
            if synonym_base in organ_bases:
                continue
            # A name without a side of an organ that has one is an abbreviation such as LK: the side is in it.
            implied_side = side if synonym_side is None else None
            synonyms.setdefault(synonym_base, Structure(base, implied_side))
    return synonyms


def _bases_of(organs: Sequence[str], bases: Mapping[str, tuple[str, str | None]]) -> list[str]:
    """Each base once, left and right being of one."""
    return list(dict.fromkeys(bases[organ][0] if organ in bases else organ for organ in organs))


def _words(name: str) -> list[str]:
    """The words of a name in small letters, without those that say nothing."""
    words = re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    return [word for word in words if word and word not in _IGNORED_WORDS]


def _base_and_side(words: Sequence[str]) -> tuple[str, str | None]:
    """The words of the organ itself, and its side where the words name just one."""
    sides = {_SIDES[word] for word in words if word in _SIDES}
    base = " ".join(word for word in words if word not in _SIDES and word not in _LESIONS)
    return base, sides.pop() if len(sides) == 1 else None


def meanings(labels: Mapping[int, str], label_space: LabelSpace) -> Meanings:
    """What each label value means in `label_space`. Every value but the background 0 gets a meaning.

    - An organ: itself; without a side where we have two: to be split; several values of one organ are merged.
    - A lesion: its organ (Shi 2021: tumours are merged into their organ), or the one organ that the data set has.
    - "ignore", and what may lie inside an organ (vessels, lesions of an unknown organ): anything.
    - Any other name: whatever the background of the data set may be, i.e. no organ that is annotated.
    """
    result = Meanings()
    structures = {value: parse_structure(name) for value, name in labels.items() if value != 0}
    targets = _by_base(label_space)
    matches: dict[int, _Match] = {}
    for value, structure in structures.items():
        match = _match(structure, targets) if structure.base else None
        if match is not None:
            matches[value] = match
    _widen_inclusive_labels(structures, matches, targets, result.notes)
    organs = {value: match for value, match in matches.items() if not structures[value].lesion}
    annotated = _covered(organs.values())
    result.annotated = [organ for organ in label_space.names if organ in annotated]
    unannotated = [BACKGROUND, *(organ for organ in label_space.names if organ not in annotated)]
    bare_lesion = _only_organ(structures, organs)
    unmatched = []
    for value, structure in structures.items():
        match = matches.get(value)
        # A bare "tumour" names no organ: it lies in the only one that the data set has.
        if structure.lesion and not structure.base:
            match = bare_lesion
        name = labels[value]
        if name.strip().lower() == "ignore":
            result.label_map[value] = [BACKGROUND, *label_space.names]
        elif match is not None and match.split is not None:
            result.split_left_right[value] = match.split
        elif match is not None:
            result.label_map[value] = match.one_of
        elif structure.lesion or _may_lie_inside(structure):
            result.label_map[value] = [BACKGROUND, *label_space.names]
            result.notes.append(f"'{name}' (value {value}): of which organ is not known; taken as unlabelled")
        else:
            result.label_map[value] = unannotated
            unmatched.append(name)
        if match is not None and structure.lesion:
            organ = " or ".join(match.split or match.one_of)
            result.notes.append(f"'{name}' (value {value}): merged into {organ}")
    if unmatched:
        result.notes.append(f"no organ of {label_space.name}: {', '.join(unmatched)}; taken as background, or an organ "
                            f"that is not annotated")
    return result


def _covered(matches: Iterable[_Match]) -> set[str]:
    """The organs that these structures cover completely, alone or as two halves."""
    covered: set[str] = set()
    halves: set[tuple[str, str]] = set()
    for match in matches:
        covered |= match.completely
        if match.half is not None:
            halves.add(match.half)
    return covered | {organ for organ, _ in halves if {(organ, "left"), (organ, "right")} <= halves}


def _by_base(label_space: LabelSpace) -> dict[str, dict[str | None, str]]:
    """base -> side (or None) -> organ name."""
    targets: dict[str, dict[str | None, str]] = {}
    for name in label_space.names:
        structure = parse_structure(name)
        targets.setdefault(structure.base, {})[structure.side] = name
    return targets


def _match(structure: Structure, targets: Mapping[str, Mapping[str | None, str]]) -> _Match | None:
    """The organs of the label space that a structure may be; None where it is none of them."""
    sides = targets.get(structure.base)
    if sides is None:
        return _match_coarse(structure, targets)
    if structure.side in sides:
        return _Match([sides[structure.side]], {sides[structure.side]})
    if structure.side is None and {"left", "right"} <= set(sides):
        pair = (sides["left"], sides["right"])
        return _Match(list(pair), set(pair), split=pair)
    if None in sides:  # e.g. a left adrenal, where ours is both
        assert structure.side is not None
        return _Match([sides[None]], set(), half=(sides[None], structure.side))
    return None


def _match_coarse(structure: Structure, targets: Mapping[str, Mapping[str | None, str]]) -> _Match | None:
    """The match of a name that covers several organs, such as "intestine"."""
    surely, perhaps = _lexicon(known_organs()).coarse.get(structure.base, ((), ()))
    one_of: list[str] = []
    completely: set[str] = set()
    outside = False  # whether it may also be an organ that the label space does not have
    for base in (*surely, *perhaps):
        match = _match(Structure(base, structure.side), targets)
        if match is None:
            outside = True
            continue
        one_of += match.one_of
        if base in surely:
            completely |= match.completely
    if not one_of:
        return None
    if outside:
        one_of.insert(0, BACKGROUND)
    return _Match(one_of, completely)


def _widen_inclusive_labels(structures: Mapping[int, Structure], matches: Mapping[int, _Match],
                            targets: Mapping[str, Mapping[str | None, str]], notes: list[str]) -> None:
    """Widens the label of an organ that may include another one, where no label of the data set names that one.

    TotalSegmentator's colon has the rectum in it, for example.
    """
    lexicon = _lexicon(known_organs())
    for base, inclusions in lexicon.may_include.items():
        for included in inclusions:
            organ = targets.get(included, {}).get(None)
            if organ is None or any(_mentions(structure, included, lexicon) for structure in structures.values()):
                continue
            for value, match in matches.items():
                if structures[value].base == base and not structures[value].lesion:
                    match.one_of.append(organ)
                    notes.append(f"'{base}' (value {value}): no label names the {organ}, which it may include; taken "
                                 f"as one of both (say otherwise with a label_map)")


def _mentions(structure: Structure, base: str, lexicon: _Lexicon) -> bool:
    surely, perhaps = lexicon.coarse.get(structure.base, ((), ()))
    return base in (structure.base, *surely, *perhaps)


def _only_organ(structures: Mapping[int, Structure], organs: Mapping[int, _Match]) -> _Match | None:
    """The organ that a bare "tumour" belongs to: the data set's only one, of unknown side where it has two."""
    if len({structures[value].base for value in organs}) != 1:
        return None
    matches = list(organs.values())
    if len(matches) == 1:
        return matches[0]
    one_of: list[str] = []
    for match in matches:
        one_of += match.one_of
    return _Match(list(dict.fromkeys(one_of)), set())


def _may_lie_inside(structure: Structure) -> bool:
    """Whether it is a vessel or duct that no organ record describes."""
    organ_bases = {parse_structure(name).base for name in known_organs().records}
    return structure.base not in organ_bases and any(word in _INSIDE_ORGANS for word in structure.base.split())
