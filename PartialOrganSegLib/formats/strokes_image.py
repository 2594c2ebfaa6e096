"""Whether strokes were drawn on an image, by the name that their file has for it."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from .registry import stem_of
from .strokes import Strokes

# Names that files of many cases have.
SAYS_NOTHING = frozenset({"image", "images", "img", "ct", "cts", "scan", "volume", "data", "case"})


def drawn_on(strokes: Strokes, image: Path) -> bool:
    """Whether `image` may be the one that the strokes were drawn on, by what the file of strokes calls it.

    Files are renamed and moved, so what tells a case apart must be in the other's name or folder: strokes on
    "ct/case_7/image.nii.gz" fit "case_7_image.nii.gz".
    """
    # A path may have been written on Windows.
    stated = PurePosixPath(strokes.image.replace("\\", "/"))
    stated_names = [_letters(stem_of(Path(stated.name))), _letters(stated.parent.name)]
    actual_names = [_letters(stem_of(image)), _letters(image.absolute().parent.name)]
    telling = [name for name in stated_names if name and name not in SAYS_NOTHING]
    return not telling or any(_alike(telling[0], name) for name in actual_names)


def _alike(first: str, second: str) -> bool:
    """Whether two names are equal, or one holds the other; letters alone ("a") are in too many words."""
    shorter, longer = sorted((first, second), key=len)
    return first == second or (len(shorter) > 2 and shorter in longer and shorter not in SAYS_NOTHING)


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())
