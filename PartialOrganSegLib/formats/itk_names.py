"""Paths that ITK can open. On Windows it takes a name's UTF-8 bytes for the system's code page and finds no "Müller".

Elsewhere it takes names in UTF-8 alone: one with other bytes, of an old archive, ends the process (SIGABRT).

Python, Slicer and ITK's own programs say that they speak UTF-8; `python.exe`, which runs our commands, does not (ITK
issue 6739). There a folder is called by its short name (MLLER~1) where Windows keeps one, else the file takes a detour
over a folder with a plain name.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import Code, UserError

_UTF8_CODE_PAGE = 65001
_DATA_BESIDE = re.compile(rb"^(data ?file:|ElementDataFile *=(?! *LOCAL))", re.MULTILINE)
_NIFTI = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
_ENDINGS_TAKEN_OFF = re.compile(r"\.(nii|hdr|img|nia)(\.gz)?$", re.IGNORECASE)
_HEADER = 4096  # bytes in which that is said


@contextlib.contextmanager
def itk_input(path: Path) -> Iterator[str]:
    """A name by which ITK can read the file `path`.

    Raises UserError for a header with its voxels in another file, which cannot be copied alone, and where there is no
    room for a copy.
    """
    name = _name(path)
    if name is not None:
        yield name
        return
    if _has_data_beside(path):
        raise UserError(code=Code.PATH_UNFIT, subject=path,
                        expected="a path of English letters and digits for this kind of file",
                        hint="rename the folder or move the files")
    with plain_folder() as folder:
        copy = folder / f"copy{_plain_suffixes(path)}"
        try:
            shutil.copyfile(path, copy)
        except OSError as error:
            raise UserError(code=Code.PATH_UNFIT, subject=path,
                            found=f"could not be copied to {folder} (the folder of TEMP) for ITK: {error}") from error
        yield str(copy)


@contextlib.contextmanager
def itk_output(path: Path) -> Iterator[str]:
    """A name by which ITK can write the file `path`; what it wrote is at `path` on leaving. Raises OSError."""
    name = _name(path)
    if name is not None and not _goes_elsewhere(path):
        yield name
        return
    with plain_folder() as folder:
        written = folder / f"copy{_plain_suffixes(path)}"
        yield str(written)
        shutil.copyfile(written, path)


def _name(path: Path) -> str | None:
    """The path as ITK understands it, None where there is no such name."""
    if _understood(str(path)):
        return str(path)
    short = os.path.join(_short_name(path.parent), path.name)
    return short if _understood(short) else None


def _has_data_beside(path: Path) -> bool:
    if path.suffix.lower() not in (".nrrd", ".nhdr", ".mha", ".mhd"):
        return False
    with open(path, "rb") as stream:
        return _DATA_BESIDE.search(stream.read(_HEADER)) is not None


def _understood(name: str) -> bool:
    if name.isascii():
        return True
    if sys.platform != "win32":
        try:
            name.encode()
        except UnicodeEncodeError:  # Python's stand-ins for bytes that are no UTF-8
            return False
        return True
    import ctypes

    return bool(ctypes.windll.kernel32.GetACP() == _UTF8_CODE_PAGE)


def _short_name(folder: Path) -> str:
    """Windows' own short name of an existing folder, the folder's name where it has none."""
    if sys.platform != "win32":
        return str(folder)
    import ctypes

    buffer = ctypes.create_unicode_buffer(1024)
    length = ctypes.windll.kernel32.GetShortPathNameW(str(folder.absolute()), buffer, len(buffer))
    return buffer.value if 0 < length < len(buffer) else str(folder)


def _goes_elsewhere(path: Path) -> bool:
    """Whether ITK writes a NIfTI file under another name: of two endings it takes both off, x.nii.gz.nii.gz becomes
    x.nii.gz, and it knows none in capitals."""
    ending = _NIFTI.search(path.name)
    if ending is None:
        return False
    return ending.group() != ending.group().lower() or _ENDINGS_TAKEN_OFF.search(path.name[:ending.start()]) is not None


def _plain_suffixes(path: Path) -> str:
    """What ITK knows the file format by; nothing where the name ends in other letters."""
    ending = _NIFTI.search(path.name)
    if ending is not None:
        return ending.group().lower()
    for suffixes in ("".join(path.suffixes[-2:]), path.suffix):
        if suffixes.isascii():
            return suffixes
    return ""


@contextlib.contextmanager
def plain_folder() -> Iterator[Path]:
    """A new folder whose name ITK understands, gone on leaving. Raises UserError where none can be made."""
    # A user's own temporary folder bears the user's name; ProgramData and Public lie outside of it.
    places = [tempfile.gettempdir(), _short_name(Path(tempfile.gettempdir())), os.environ.get("PROGRAMDATA", ""),
              os.environ.get("PUBLIC", "")]
    for place in places:
        if place and _understood(place):
            try:
                folder = tempfile.TemporaryDirectory(prefix="partialorganseg-", dir=place, ignore_cleanup_errors=True)
            except OSError:
                continue
            with folder as name:
                yield Path(name)
            return
    raise UserError(code=Code.PATH_UNFIT, subject="TEMP",
                    expected="a folder of English letters and digits, as ITK needs it", found=places[0])
