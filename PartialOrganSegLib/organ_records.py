"""What the library knows of each organ: one record of `organs.json`, read once and checked field by field.

A folder named by the environment variable PARTIALORGANSEG_ORGANS (several: separated as in PATH) adds a user's own: its
`organs.json` further records, its `label_spaces` further label spaces. Nothing here needs a package beside Python's,
so that Slicer can load it before it has installed any.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .errors import Code as ProblemCode
from .errors import UserError, kind_of, nearest
from .json_file import read_json
from .resources import resource

FILE = "organs.json"
FOLDERS_VARIABLE = "PARTIALORGANSEG_ORGANS"
REGIONS = ("head", "chest", "abdomen", "pelvis")


@dataclass(frozen=True)
class Code:
    """A SNOMED CT concept: `value` and its `meaning`."""

    value: str
    meaning: str


CATEGORY = Code("123037004", "Anatomical Structure")


@dataclass(frozen=True)
class Names:
    """What others call an organ. `tg263`: AAPM's TG-263, at most 16 characters; `rtog`: RTOG's atlases; both for
    radiotherapy. `totalsegmentator`: its class, or the classes that together are this organ."""

    tg263: str | None = None
    rtog: str | None = None
    totalsegmentator: tuple[str, ...] = ()
    abbreviations: tuple[str, ...] = ()
    other: tuple[str, ...] = ()

    def all_names(self) -> tuple[str, ...]:
        """All of them, in any order."""
        single = tuple(name for name in (self.tg263, self.rtog) if name is not None)
        return single + self.totalsegmentator + self.abbreviations + self.other


@dataclass(frozen=True)
class Volumes:
    """Volume statistics in ml over people who have the whole organ in the image; `p5` and `p95` are percentiles."""

    mean: float
    std: float
    min: float
    p5: float
    p95: float
    max: float


@dataclass(frozen=True)
class Components:
    """Of an organ's components keep the `most` surest that have `share` of the surest one's voxels and `least_ml`."""

    most: int
    share: float = 0.1
    least_ml: float = 0.3


@dataclass(frozen=True)
class OrganRecord:
    """All facts about an organ; `colour` is RGB in 0-255.

    `modifier`: the SNOMED laterality. `twin`: the organ it trades places with when left and right are swapped.
    `region`: the part of the body it lies in; `shows_in`: the fields of view (regions) that usually show some of it.
    `may_include`: organs that other data sets often label as part of this one. `in_slicer_list`: whether the list of
    anatomy that comes with 3D Slicer has its code. `usual_ml` and `components` are None where nobody has measured.
    """

    name: str
    title: str
    code: Code
    colour: tuple[int, int, int]
    region: str
    category: Code = CATEGORY
    modifier: Code | None = None
    names: Names = Names()
    shows_in: tuple[str, ...] = ()
    twin: str | None = None
    may_include: tuple[str, ...] = ()
    in_slicer_list: bool = True
    usual_ml: Volumes | None = None
    components: Components | None = None


@dataclass(frozen=True)
class OrganGroup:
    """Names that say less than one organ: "one of" what they `surely` cover and what they cover `perhaps` besides."""

    names: tuple[str, ...]
    surely: tuple[str, ...] = ()
    perhaps: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Organs:
    """The records by name and the groups, of the shipped file and of the user's."""

    records: Mapping[str, OrganRecord]
    groups: tuple[OrganGroup, ...]


def own_folders() -> list[Path]:
    """The user's folders with organs and label spaces, from the environment."""
    return [Path(folder) for folder in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if folder]


def known_organs() -> Organs:
    """All organs: the shipped ones and those of the user's folders.

    Raises UserError that names everything that is wrong in a file, and for a name that occurs twice.
    """
    return _organs_of(tuple(own_folders()))


def shipped_organs() -> Organs:
    """The library's own organs alone."""
    return _organs_of(())


def organ_record(name: str) -> OrganRecord | None:
    """What is known of the organ called `name`, None for one that only its user knows."""
    return known_organs().records.get(name)


@functools.lru_cache(maxsize=8)
def _organs_of(folders: tuple[Path, ...]) -> Organs:
    # A folder may hold label spaces alone.
    shipped = resource(FILE)
    files = [shipped] + [folder / FILE for folder in folders if (folder / FILE).is_file()]
    records: dict[str, OrganRecord] = {}
    groups: list[OrganGroup] = []
    for file in files:
        content = read_organs(file)
        for name, record in content.records.items():
            if name in records:
                raise UserError(code=ProblemCode.NAME_TAKEN, subject=f"{file}: organ {name}",
                                expected=f"a name that {FILE} of the library has not", found="it there too")
            records[name] = record
        groups += content.groups
    # References are looked up last, because a user's record may name one of another file.
    problems: list[str] = []
    for record in records.values():
        problems += _unknown_references(record, records)
    if problems:
        raise UserError(code=ProblemCode.WRONG_FORMAT, subject=files[-1], found="; ".join(problems))
    return Organs(MappingProxyType(records), tuple(groups))


def read_organs(file: Path) -> Organs:
    """The records of one file. Raises UserError that names everything that is wrong in it, in one line."""
    try:
        content = read_json(file, "JSON")
    except OSError as error:
        raise UserError(code=ProblemCode.WRONG_FORMAT, subject=file, expected="JSON", found=error) from None
    problems = _Problems(file)
    if not isinstance(content, dict) or not isinstance(content.get("organs"), list):
        raise UserError(code=ProblemCode.WRONG_FORMAT, subject=file, expected='{"organs": [...]}',
                        found="no list of organs")
    records: dict[str, OrganRecord] = {}
    for number, entry in enumerate(content["organs"], 1):
        label = f"organ {entry['name']}" if isinstance(entry, dict) and entry.get("name") else f"organ {number}"
        record = _typed(OrganRecord, entry, label, problems)
        if record is None:
            continue
        if record.name in records:
            problems.add(f"{label}: expected different names, found this one twice")
        records[record.name] = record
        _check_record(record, label, problems)
    groups = []
    for number, entry in enumerate(content.get("groups", []), 1):
        group = _typed(OrganGroup, entry, f"group {number}", problems)
        if group is not None:
            groups.append(group)
    problems.raise_any()
    return Organs(records, tuple(groups))


class _Problems:
    """What is wrong in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        self._lines.append(line)

    def raise_any(self) -> None:
        if self._lines:
            raise UserError(code=ProblemCode.WRONG_FORMAT, subject=self._file, found="; ".join(self._lines))


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a text")
    return value


def _number(value: Any) -> float:
    # JSON's true is Python's True, which counts as the number 1.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise ValueError("a number from 0 on")
    return float(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("a whole number from 1 on")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) and text.strip() for text in value):
        raise ValueError("a list of texts")
    return tuple(value)


def _regions(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or any(region not in REGIONS for region in value):
        raise ValueError(f"a list of {', '.join(REGIONS)}")
    return tuple(value)


def _region(value: Any) -> str:
    if value not in REGIONS:
        raise ValueError(f"one of {', '.join(REGIONS)}{nearest(str(value), REGIONS)}")
    return str(value)


def _colour(value: Any) -> tuple[int, int, int]:
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError("three numbers of 0-255")
    if not all(isinstance(channel, int) and 0 <= channel <= 255 for channel in value):
        raise ValueError("three numbers of 0-255")
    return value[0], value[1], value[2]


# How the value of each field is read: a function, or a class for an object with that class's fields.
_READERS: dict[type, dict[str, Any]] = {
    Code: {"value": _text, "meaning": _text},
    Names: {"tg263": _text, "rtog": _text, "totalsegmentator": _texts, "abbreviations": _texts, "other": _texts},
    Volumes: dict.fromkeys(("mean", "std", "min", "p5", "p95", "max"), _number),
    Components: {"most": _count, "share": _number, "least_ml": _number},
    OrganRecord: {
        "name": _text, "title": _text, "code": Code, "colour": _colour, "region": _region, "category": Code,
        "modifier": Code, "names": Names, "shows_in": _regions, "twin": _text, "may_include": _texts,
        "in_slicer_list": _flag, "usual_ml": Volumes, "components": Components},
    OrganGroup: {"names": _texts, "surely": _texts, "perhaps": _texts},
}


def _typed(kind: type, content: Any, place: str, problems: _Problems) -> Any:
    """An object of the class `kind` with the fields in `content`; None, with the reasons in `problems`, if some are
    wrong."""
    if not isinstance(content, dict):
        problems.add(f"{place}: expected fields as \"key\": value, found {kind_of(content)}")
        return None
    readers = _READERS[kind]
    values: dict[str, Any] = {}
    is_valid = True
    for key, value in content.items():
        reader = readers.get(key)
        if reader is None:
            problems.add(f"{place}: unknown field '{key}'{nearest(key, readers)}; known: {', '.join(readers)}")
            is_valid = False
        elif value is None:
            continue  # null is a field that is left out
        elif isinstance(reader, type):
            values[key] = _typed(reader, value, f"{place}: {key}", problems)
            is_valid = is_valid and values[key] is not None
        else:
            try:
                values[key] = reader(value)
            except ValueError as error:
                problems.add(f"{place}: {key}: expected {error}, found {json.dumps(value)}")
                is_valid = False
    # A field that is there but wrong has its line already.
    missing = [name for name in _required(kind) if name not in values and name not in content]
    for name in missing:
        problems.add(f"{place}: expected the field '{name}', found none")
    if missing or not is_valid:
        return None
    return kind(**values)


def _required(kind: type) -> list[str]:
    optional = {field.name for field in fields(kind) if field.name in vars(kind)}  # a default is an attribute
    return [field.name for field in fields(kind) if field.name not in optional]


def _check_record(record: OrganRecord, label: str, problems: _Problems) -> None:
    letters = record.name.replace("_", "")
    if not (letters.isascii() and letters.isalnum()) or record.name != record.name.lower():
        problems.add(f"{label}: name: expected small letters, digits and underscores, found '{record.name}'")
    if record.names.tg263 is not None and len(record.names.tg263) > 16:
        problems.add(f"{label}: names: tg263: expected at most 16 characters, found '{record.names.tg263}'")
    usual = record.usual_ml
    if usual is not None and not usual.min <= usual.p5 <= usual.mean <= usual.p95 <= usual.max:
        problems.add(f"{label}: usual_ml: expected min <= p5 <= mean <= p95 <= max, found {usual.min:g}, {usual.p5:g}, "
                     f"{usual.mean:g}, {usual.p95:g}, {usual.max:g}")


def _unknown_references(record: OrganRecord, records: Mapping[str, OrganRecord]) -> list[str]:
    """The organs that a record names and nobody knows, and a twin that has another twin."""
    lines = []
    for field, name in [("twin", record.twin), *(("may_include", name) for name in record.may_include)]:
        if name is not None and name not in records:
            lines.append(f"organ {record.name}: {field}: expected a known organ, found '{name}'"
                         f"{nearest(name, records)}")
    twin = records.get(record.twin or "")
    if twin is not None and twin.twin != record.name:
        lines.append(f"organ {record.name}: twin: expected {twin.name}'s twin to be {record.name}, found {twin.twin}")
    return lines
