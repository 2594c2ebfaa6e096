"""Entries of a zip file that others packed: where they may go, and one line for what cannot be unpacked."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from ..errors import Code, UserError
from .http_file import LARGEST_BYTES

MOST_ENTRIES = 10_000
_PIECE = 1 << 20
# What Python's zip and its four ways of unpacking raise: bz2 an OSError, for a password a RuntimeError, for an entry
# without a name an IndexError.
_FAILURES = (zipfile.BadZipFile, EOFError, LookupError, NotImplementedError, OSError, OverflowError, RuntimeError,
             ValueError, lzma.LZMAError, struct.error, zlib.error)


def entries_of(archive: Path, source: str, expected: str) -> list[zipfile.ZipInfo]:
    """The files in a zip. Raises UserError, naming `source`, for what is no zip (`expected`) and for too many."""
    try:
        with zipfile.ZipFile(archive) as packed:
            entries = [entry for entry in packed.infolist() if not entry.is_dir()]
    except _FAILURES as error:
        raise _damaged(source, expected, error) from None
    if len(entries) > MOST_ENTRIES:
        raise UserError(code=Code.TOO_LARGE, subject=source, expected=f"at most {MOST_ENTRIES} files in the zip",
                        found=len(entries))
    return entries


def inner_path(entry: zipfile.ZipInfo, source: str) -> PurePosixPath:
    """An entry's path. Raises UserError for one that points outside of the folder that it is unpacked into."""
    path = PurePosixPath(entry.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or ":" in entry.filename:
        raise UserError(code=Code.UNSAFE_FILE, subject=source,
                        found=f"entry '{entry.filename:.200}' points outside of the model",
                        hint="nothing was installed")
    return path


def unpack(archive: Path, places: Mapping[zipfile.ZipInfo, Path], source: str, expected: str) -> None:
    """Writes each entry to its place. Raises UserError for what cannot be unpacked, and for more than `LARGEST_BYTES`,
    whatever size the zip claims."""
    allowed = LARGEST_BYTES
    for entry, place in places.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(place, "wb") as handle:
            for piece in _pieces_of(archive, entry, source, expected):
                allowed -= len(piece)
                if allowed < 0:
                    raise UserError(code=Code.TOO_LARGE, subject=source,
                                    expected=f"at most {LARGEST_BYTES >> 30} GiB of files", found="more")
                handle.write(piece)


def _pieces_of(archive: Path, entry: zipfile.ZipInfo, source: str, expected: str) -> Iterator[bytes]:
    """The bytes of an entry, a piece at a time."""
    try:
        with zipfile.ZipFile(archive) as packed, packed.open(entry) as stream:
            while piece := stream.read(_PIECE):
                yield piece
    except _FAILURES as error:
        raise _damaged(source, expected, error) from None


def _damaged(source: str, expected: str, error: BaseException) -> UserError:
    found = "a damaged one"
    # These are written for readers: what is wrong, or that a password is needed.
    if isinstance(error, (zipfile.BadZipFile, NotImplementedError, RuntimeError)):
        found = f"{found} ({error!s:.200})"
    return UserError(code=Code.WRONG_FORMAT, subject=source, expected=expected, found=found)
