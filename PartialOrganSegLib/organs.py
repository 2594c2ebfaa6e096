"""The label space: which organs there are, in which order. The facts about each organ are one record of `organs.json`,
a label space is a list of names in a file of its own; the default is WORD's sixteen."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import Code as ProblemCode
from .errors import UserError, kind_of, nearest
from .json_file import read_json
from .organ_records import CATEGORY, Code, OrganRecord, organ_record, own_folders, shipped_organs
from .resources import resource

__all__ = ["BACKGROUND", "BTCV13", "CATEGORY", "LABEL_SPACES", "SHI5", "WORD16", "Code", "LabelSpace", "Organ",
           "label_space_of_names", "organ_of"]

BACKGROUND = "background"
MOST_ORGANS = 254  # of 256 values of a byte, 0 is the background and 255 "not drawn"
LEFT, RIGHT = "7771000", "24028007"  # SNOMED's lateralities
FOLDER = "label_spaces"
_LEFT_AND_RIGHT = ("left", "right")


@dataclass(frozen=True)
class Organ:
    """One class of a label space. `index` is its value in a labelmap, `colour` is RGB in 0-255.

    What is known of it beside is in its record: `organ_records.organ_record(organ.name)`.
    """

    index: int
    name: str
    code: Code
    colour: tuple[int, int, int]
    modifier: Code | None = None
    category: Code = CATEGORY

    @classmethod
    def of(cls, index: int, record: OrganRecord) -> Organ:
        """The organ of a record, as value `index` of a label space."""
        return cls(index, record.name, record.code, record.colour, record.modifier, record.category)

    @property
    def title(self) -> str:
        """The name as a person reads it: `left kidney`."""
        record = organ_record(self.name)
        if record is None:
            return self.name.replace("_", " ")
        return record.title

    @property
    def twin(self) -> str | None:
        """The name of the organ on the other side, None for one that has none. An organ that no record knows has the
        one of the same name with left for right."""
        record = organ_record(self.name)
        if record is not None:
            return record.twin
        # "left_gonad" and "gonad_left" alike.
        for side, opposite in (_LEFT_AND_RIGHT, _LEFT_AND_RIGHT[::-1]):
            if side in self.name:
                return self.name.replace(side, opposite)
        return None

    @property
    def is_left(self) -> bool:
        """Whether it is the left one of a pair."""
        if organ_record(self.name) is not None:
            return self.modifier is not None and self.modifier.value == LEFT
        return "left" in self.name


@dataclass(frozen=True)
class LabelSpace:
    """Background 0 and organs 1..n. Nothing else in the library knows how many organs there are."""

    name: str
    organs: tuple[Organ, ...]

    def __post_init__(self) -> None:
        if [organ.index for organ in self.organs] != list(range(1, len(self.organs) + 1)):
            raise UserError(code=ProblemCode.VALUE_UNFIT, subject=f"label space {self.name}",
                            found=f"organ indices must be 1..{len(self.organs)} in order")

    @property
    def class_count(self) -> int:
        """Number of classes including the background."""
        return len(self.organs) + 1

    @property
    def names(self) -> tuple[str, ...]:
        """Organ names in label order, without the background."""
        return tuple(organ.name for organ in self.organs)

    def organ(self, name: str) -> Organ:
        """The organ called `name` (blanks and capitals do not matter). Raises UserError with the nearest name."""
        key = str(name).strip().lower().replace(" ", "_").replace("-", "_")
        for organ in self.organs:
            if organ.name == key:
                return organ
        raise UserError(code=ProblemCode.UNKNOWN_NAME, found=f"unknown organ '{name}'{nearest(key, self.names)}",
                        hint=f"known: {', '.join(self.names)}")

    def index(self, name: str) -> int:
        """Label value of an organ name or of "background" (0). Raises UserError with the nearest name."""
        if str(name).strip().lower() == BACKGROUND:
            return 0
        return self.organ(name).index

    def indices(self, names: Iterable[str]) -> tuple[int, ...]:
        """Label values of several names, in their order."""
        return tuple(self.index(name) for name in names)

    @property
    def mirrored(self) -> tuple[tuple[int, int], ...]:
        """Pairs (left, right) of indices that trade places when the patient's left and right are swapped."""
        by_name = {organ.name: organ for organ in self.organs}
        pairs = []
        for organ in self.organs:
            twin = by_name.get(organ.twin or "")
            if organ.is_left and twin is not None:
                pairs.append((organ.index, twin.index))
        return tuple(pairs)

    def mirror_permutation(self) -> list[int]:
        """`permutation[c]` is the class that class `c` becomes when left and right are swapped, for all classes."""
        permutation = list(range(self.class_count))
        for index, twin in self.mirrored:
            permutation[index], permutation[twin] = twin, index
        return permutation


class LabelSpaces(Mapping[str, LabelSpace]):
    """The label spaces by name: a file each in `label_spaces`, of the library and of the user's folders
    (`organ_records`). A file is read when its space is asked for.

    The file is a list of names, or `{"organs": [names], "about": "where it comes from"}`.
    """

    def __getitem__(self, name: str) -> LabelSpace:
        """Raises KeyError for an unknown name and UserError for a file that is wrong."""
        return read_label_space(self._files()[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._files())

    def __len__(self) -> int:
        return len(self._files())

    def about(self, name: str) -> str:
        """What a label space is, as its file says."""
        content = _json(self._files()[name])
        return str(content.get("about", "")) if isinstance(content, dict) else ""

    def file(self, name: str) -> Path:
        """The file of a label space."""
        return self._files()[name]

    @staticmethod
    def _files() -> dict[str, Path]:
        """A shipped space is never hidden by a user's, and WORD's sixteen come first."""
        # Dictionaries keep their order, and lists of label spaces show this one.
        files = {"word16": resource(FOLDER, "word16.json")}
        for folder in [resource(FOLDER), *(folder / FOLDER for folder in own_folders())]:
            for file in sorted(folder.glob("*.json")):
                files.setdefault(file.stem, file)
        return files


def read_label_space(file: Path) -> LabelSpace:
    """The label space of a file with a list of names. Raises UserError naming the file and what was expected."""
    return label_space_of_names(file.stem, _names_in(file))


def _names_in(file: Path) -> list[str]:
    content = _json(file)
    names = content
    if isinstance(content, dict):
        names = content.get("organs")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(code=ProblemCode.WRONG_FORMAT, subject=file, expected="a list of organ names",
                        found=kind_of(names))
    return names


def _json(file: Path) -> object:
    try:
        return read_json(file, "JSON")
    except OSError as error:
        raise UserError(code=ProblemCode.WRONG_FORMAT, subject=file, expected="JSON", found=error) from None


def organ_of(index: int, name: str) -> Organ:
    """An organ of that name and label value: with the code and colour of its record, else a general one.

    A name that no record knows is a SNOMED "Anatomical Structure", in a colour of its own. Raises UserError for a name
    that could not be written into a file name or a table.
    """
    key = str(name).strip().lower().replace(" ", "_").replace("-", "_")
    # Names become parts of file names and columns of tables.
    if not key.replace("_", "").isalnum() or key == BACKGROUND:
        raise UserError(code=ProblemCode.NAME_UNFIT, subject=f"organ {index}",
                        expected="a name of letters and digits other than 'background'", found=f"'{name}'")
    record = organ_record(key)
    if record is not None:
        return Organ.of(index, record)
    hue = (index * 0.618034) % 1.0  # steps of the golden ratio keep any number of hues apart
    red, green, blue = (round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, 0.6, 0.9))
    return Organ(index, key, CATEGORY, (red, green, blue))


def label_space_of_names(name: str, names: Sequence[str]) -> LabelSpace:
    """The label space of an ordered list of organ names. Raises UserError for a name that occurs twice, and for more
    than labels of eight bits can tell apart (255 means "not drawn")."""
    if len(names) > MOST_ORGANS:
        raise UserError(code=ProblemCode.VALUE_OUT_OF_RANGE, subject=f"label space {name}",
                        expected=f"at most {MOST_ORGANS} organs", found=len(names))
    space = LabelSpace(name, tuple(organ_of(index, organ) for index, organ in enumerate(names, 1)))
    if not names:
        raise UserError(code=ProblemCode.NAME_TAKEN, subject=f"label space {name}", expected="different organ names",
                        found="none")
    for organ_name in space.names:
        if space.names.count(organ_name) > 1:
            raise UserError(code=ProblemCode.NAME_TAKEN, subject=f"label space {name}",
                            expected="different organ names", found=f"{organ_name!r} twice")
    return space


def _shipped(name: str) -> LabelSpace:
    """A label space of the library's own organs; a mistake in a user's file must not keep the library from loading."""
    names = _names_in(resource(FOLDER, f"{name}.json"))
    records = shipped_organs().records
    return LabelSpace(name, tuple(Organ.of(index, records[organ]) for index, organ in enumerate(names, 1)))


LABEL_SPACES = LabelSpaces()
WORD16, BTCV13, SHI5 = (_shipped(name) for name in ("word16", "btcv13", "shi5"))
