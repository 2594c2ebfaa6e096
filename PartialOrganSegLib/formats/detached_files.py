"""Files of voxels that an NRRD or MetaImage header names: regular files below the header's own folder, nothing else.

A header may come from anywhere. It must not make us read another file of the machine, wait for a pipe, or hand a text
to a library that takes it for a printf format.
"""

from __future__ import annotations

import re
from pathlib import Path, PureWindowsPath

from ..errors import Code, UserError
from .header_lines import shown

_NUMBER = re.compile(r"%0?\d{0,2}d")
_MOST_FILES = 100_000


def detached_file(header: Path, name: str) -> Path:
    """The file that a header names. Raises UserError when it is missing, no regular file or in another place."""
    folder = header.absolute().parent
    if not name or "\0" in name or "%" in name:
        raise UserError(code=Code.UNSAFE_FILE, subject=header, expected="the name of its file of voxels",
                        found=shown(name))
    file = folder / name
    # Links are followed, as data sets in git-annex are full of them; ".." and absolute names leave the folder.
    # A drive without a folder, as in C:x.raw, is no absolute name and leaves it all the same.
    if Path(name).is_absolute() or PureWindowsPath(name).drive or ".." in Path(name).parts:
        raise UserError(code=Code.UNSAFE_FILE, subject=header, expected="its voxels in a file below its own folder",
                        found=shown(name))
    if not file.is_file():
        obstacle = "something that is no regular file" if file.exists() else "no such file"
        raise UserError(code=Code.FILE_MISSING, subject=header, expected=f"its voxels in {name} beside it",
                        found=obstacle)
    return file


def numbered_files(header: Path, text: str) -> list[Path]:
    """The files of a pattern such as "ct%03d.raw 1 40 1": first, last, step. Raises UserError for another text."""
    words = text.split()
    # Names may have blanks, so the numbers are counted from the end.
    pattern, numbers = " ".join(words[:-3]), words[-3:]
    formats = _NUMBER.findall(pattern)
    if len(formats) != 1 or pattern.count("%") != 1 or not all(re.fullmatch(r"-?\d{1,9}", n) for n in numbers):
        raise UserError(code=Code.UNSAFE_FILE, subject=header,
                        expected="files of voxels as NAME%03d.raw FIRST LAST STEP", found=shown(text))
    first, last, step = map(int, numbers)
    if step == 0 or not 0 <= (last - first) // step < _MOST_FILES:
        raise UserError(code=Code.FILE_DAMAGED, subject=header, expected=f"1 to {_MOST_FILES} files of voxels",
                        found=shown(text))
    stop = last + (1 if step > 0 else -1)
    return [detached_file(header, pattern.replace(formats[0], formats[0] % number))
            for number in range(first, stop, step)]
