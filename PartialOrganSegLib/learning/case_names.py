"""Which words of a mask's name say what it shows, and names that differ."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ..formats.registry import stem_of
from ..formats.strokes_image import SAYS_NOTHING

# Of a mask's name, what says that it is a mask or who drew it, not of what.
_OF_MASKS = frozenset({
    "mask", "masks", "label", "labels", "labelmap", "seg", "segm", "segmentation", "segmentations", "manual", "gt",
    "groundtruth", "truth", "human", "expert", "final", "corrected", "annotation", "annotations", "annotated",
    "reference", "ref", "roi", "contour", "contours", "reader", "scribble", "scribbles", "strokes", "organs", "organ",
    "new", "version", "nii", "partial"})


def unique_names(names: Sequence[str]) -> list[str]:
    """The names with a number where one occurred before, capitals aside.

    >>> unique_names(["a", "A", "a"])
    ['a', 'A 2', 'a 3']
    """
    result: list[str] = []
    used_names: set[str] = set()
    for name in names:
        free, number = name, 1
        while free.casefold() in used_names:
            number += 1
            free = f"{name} {number}"
        used_names.add(free.casefold())
        result.append(free)
    return result


def words_of(name: str) -> list[str]:
    """The words of a name in small letters: letters and digits in a row, parted where a capital follows a small letter.

    >>> words_of("LiverMask_07")
    ['liver', 'mask', '07']
    """
    return re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())


def telling_words(mask: Path, case_words: Sequence[str]) -> str:
    """What a mask's file name says beside the case's name and that it is a mask; empty for a name such as "label".

    >>> telling_words(Path("patient7_left_kidney_mask.nii.gz"), ["patient7"])
    'left_kidney'
    """
    words = words_of(stem_of(mask))
    # The case's words go as a row, so that a case called "left" takes no side from an organ.
    count = len(case_words)
    for start in range(len(words) - count + 1):
        if count and words[start:start + count] == list(case_words):
            del words[start:start + count]
            break
    return "_".join(word for word in words if word not in _OF_MASKS and word not in SAYS_NOTHING
                    and not word.isdecimal())
