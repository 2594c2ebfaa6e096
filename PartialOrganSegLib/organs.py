"""The label space: which organs there are, with codes, colours and left/right pairs. The default is WORD's sixteen."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .errors import UserError, nearest

BACKGROUND = "background"
MOST_ORGANS = 254


@dataclass(frozen=True)
class Code:
    """A SNOMED CT concept: `value` and its `meaning`."""

    value: str
    meaning: str


RIGHT = Code("24028007", "Right")
LEFT = Code("7771000", "Left")
BOTH = Code("51440002", "Right and left")
CATEGORY = Code("123037004", "Anatomical Structure")


@dataclass(frozen=True)
class Organ:
    """One class of a label space. `index` is its value in a labelmap, `colour` is RGB in 0-255."""

    index: int
    name: str
    code: Code
    colour: tuple[int, int, int]
    modifier: Code | None = None

    @property
    def title(self) -> str:
        """The name as a person reads it: `left kidney`."""
        return self.name.replace("_", " ")


@dataclass(frozen=True)
class LabelSpace:
    """Background 0 and organs 1..n. Nothing else in the library knows how many organs there are."""

    name: str
    organs: tuple[Organ, ...]

    def __post_init__(self) -> None:
        if [organ.index for organ in self.organs] != list(range(1, len(self.organs) + 1)):
            raise UserError(f"label space {self.name}: organ indices must be 1..{len(self.organs)} in order")

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
        raise UserError(f"unknown organ '{name}'{nearest(key, self.names)}; known: {', '.join(self.names)}")

    def index(self, name: str) -> int:
        """Label value of an organ name or of "background" (0). Raises UserError with the nearest name."""
        return 0 if str(name).strip().lower() == BACKGROUND else self.organ(name).index

    def indices(self, names: Iterable[str]) -> tuple[int, ...]:
        """Label values of several names, in their order."""
        return tuple(self.index(name) for name in names)

    @property
    def mirrored(self) -> tuple[tuple[int, int], ...]:
        """Pairs (left, right) of indices that trade places when the patient's left and right are swapped."""
        by_name = {organ.name: organ.index for organ in self.organs}
        pairs = []
        for name, index in by_name.items():
            twin = name.replace("left", "right")
            if twin != name and twin in by_name:
                pairs.append((index, by_name[twin]))
        return tuple(pairs)

    def mirror_permutation(self) -> list[int]:
        """`permutation[c]` is the class that class `c` becomes when left and right are swapped, for all classes."""
        permutation = list(range(self.class_count))
        for left, right in self.mirrored:
            permutation[left], permutation[right] = right, left
        return permutation


_KIDNEY = Code("64033007", "Kidney")
_ADRENAL = Code("23451007", "Adrenal gland")
_FEMORAL_HEAD = Code("2812003", "Head of femur")

WORD16 = LabelSpace(
    "word16",
    (
        Organ(1, "liver", Code("10200004", "Liver"), (190, 90, 60)),
        Organ(2, "spleen", Code("78961009", "Spleen"), (150, 80, 190)),
        Organ(3, "left_kidney", _KIDNEY, (235, 190, 40), LEFT),
        Organ(4, "right_kidney", _KIDNEY, (225, 130, 20), RIGHT),
        Organ(5, "stomach", Code("69695003", "Stomach"), (60, 170, 220)),
        Organ(6, "gallbladder", Code("28231008", "Gallbladder"), (90, 200, 70)),
        Organ(7, "esophagus", Code("32849002", "Esophagus"), (240, 120, 170)),
        Organ(8, "pancreas", Code("15776009", "Pancreas"), (250, 230, 120)),
        Organ(9, "duodenum", Code("38848004", "Duodenum"), (40, 120, 200)),
        Organ(10, "colon", Code("71854001", "Colon"), (160, 110, 70)),
        Organ(11, "intestine", Code("30315005", "Small intestine"), (80, 210, 190)),
        Organ(12, "adrenal", _ADRENAL, (255, 70, 70), BOTH),
        Organ(13, "rectum", Code("34402009", "Rectum"), (200, 60, 140)),
        Organ(14, "bladder", Code("89837001", "Bladder"), (120, 160, 255)),
        Organ(15, "head_of_left_femur", _FEMORAL_HEAD, (220, 220, 200), LEFT),
        Organ(16, "head_of_right_femur", _FEMORAL_HEAD, (170, 190, 160), RIGHT),
    ),
)

# What the challenges below name beside WORD's organs.
_OTHERS = (
    Organ(1, "aorta", Code("15825003", "Aorta"), (225, 40, 50)),
    Organ(2, "inferior_vena_cava", Code("64131007", "Inferior vena cava"), (40, 90, 220)),
    Organ(3, "portal_and_splenic_vein", Code("32764006", "Portal vein"), (0, 150, 205)),
    Organ(4, "right_adrenal", _ADRENAL, (255, 70, 70), RIGHT),
    Organ(5, "left_adrenal", _ADRENAL, (255, 140, 110), LEFT),
)


def _known_organs(name: str, names: Sequence[str]) -> LabelSpace:
    known = {organ.name: organ for organ in (*WORD16.organs, *_OTHERS)}
    return LabelSpace(name, tuple(replace(known[organ], index=index) for index, organ in enumerate(names, 1)))


# The thirteen of the Multi-Atlas Labeling challenge (BTCV), in its own order (Zhou 2019, section 4.1).
BTCV13 = _known_organs("btcv13", (
    "spleen", "right_kidney", "left_kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta",
    "inferior_vena_cava", "portal_and_splenic_vein", "pancreas", "right_adrenal", "left_adrenal"))

# The five that Shi 2021 (section 4.1) trains on five data sets.
SHI5 = _known_organs("shi5", ("liver", "spleen", "pancreas", "left_kidney", "right_kidney"))

LABEL_SPACES = {space.name: space for space in (WORD16, BTCV13, SHI5)}


def organ_of(index: int, name: str) -> Organ:
    """An organ of that name and label value: with the code and colour it has in a registered space, else a general one.

    A name that no space knows is a SNOMED "Anatomical Structure", in a colour of its own. Raises UserError for a name
    that could not be written into a file name or a table.
    """
    key = str(name).strip().lower().replace(" ", "_").replace("-", "_")
    if not key.replace("_", "").isalnum() or key == BACKGROUND:
        raise UserError(f"organ {index}: expected a name of letters and digits other than 'background', found '{name}'")
    for space in LABEL_SPACES.values():
        for organ in space.organs:
            if organ.name == key:
                return replace(organ, index=index)
    hue = (index * 0.618034) % 1.0  # steps of the golden ratio keep any number of hues apart
    red, green, blue = (round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, 0.6, 0.9))
    return Organ(index, key, CATEGORY, (red, green, blue))


def label_space_of_names(name: str, names: Sequence[str]) -> LabelSpace:
    """The label space of an ordered list of organ names. Raises UserError for a name that occurs twice, and for more
    than labels of eight bits can tell apart (255 means "not drawn")."""
    if len(names) > MOST_ORGANS:
        raise UserError(f"label space {name}: expected at most {MOST_ORGANS} organs, found {len(names)}")
    space = LabelSpace(name, tuple(organ_of(index, organ) for index, organ in enumerate(names, 1)))
    twice = next((organ for organ in space.names if space.names.count(organ) > 1), None)
    if twice or not names:
        raise UserError(f"label space {name}: expected different organ names, found "
                        f"{f'{twice!r} twice' if twice else 'none'}")
    return space
