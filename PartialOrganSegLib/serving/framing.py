"""What client and server say to each other, over HTTP and SSH alike.

A request is one line of JSON (`RequestHead`) and the CT's file. An answer is lines of JSON, the events of the command,
among them `{"event": "file", "kind": ..., "size": n}`, after which the file's n bytes follow, and as its last
`{"event": "end"}`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from ..errors import Code, UserError

VERSION = 1
LONGEST_HEAD = 64 << 10  # bytes of a request's line
LONGEST_EVENT = 4 << 20
PIECE = 1 << 20


class Source(Protocol):
    """What bytes come from."""

    def readline(self, size: int, /) -> bytes:
        """A line, cut off after `size` bytes; empty at the end."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; empty at the end."""


@dataclass(frozen=True)
class RequestHead:
    """`size`: bytes of the CT's file. `organs`: names, None for all. `force`: also what does not look like a CT.
    `preview`: make a picture, too."""

    size: int
    organs: tuple[str, ...] | None = None
    force: bool = False
    preview: bool = False

    def line(self) -> bytes:
        """What `read_head` reads."""
        return json.dumps({"version": VERSION, **asdict(self)}).encode() + b"\n"


def read_head(source: Source) -> RequestHead:
    """The head of a request. Raises UserError for anything else."""
    fields = _object(source.readline(LONGEST_HEAD), "a request")
    organs, size = fields.get("organs"), fields.get("size")
    if fields.get("version") != VERSION:
        raise UserError(code=Code.WRONG_FORMAT, subject="request", expected=f"version {VERSION}",
                        found=f"{fields.get('version')!r:.40}")
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise UserError(code=Code.WRONG_FORMAT, subject="request: size", expected="a number of bytes",
                        found=f"{size!r:.40}")
    if organs is not None and not (isinstance(organs, list) and all(isinstance(name, str) for name in organs)):
        raise UserError(code=Code.WRONG_FORMAT, subject="request: organs", expected="a list of names",
                        found=f"{organs!r:.40}")
    chosen = None
    if organs is not None:
        chosen = tuple(map(str, organs))
    return RequestHead(size, chosen, fields.get("force") is True, fields.get("preview") is True)


def read_event(source: Source) -> dict[str, object]:
    """The next event of an answer. Raises UserError where it ends, or is none."""
    line = source.readline(LONGEST_EVENT)
    if not line:
        raise UserError(code=Code.DOWNLOAD_FAILED, subject="server", found="the connection ended before the answer did")
    return _object(line, "an event")


def _object(line: bytes, noun: str) -> dict[str, object]:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        content = None
    if not line.endswith(b"\n") or not isinstance(content, dict):
        raise UserError(code=Code.WRONG_FORMAT, subject="connection", expected=noun, found=f"{line!r:.60}")
    return content


def copy_to_file(source: Source, size: int, path: Path) -> None:
    """Writes the next `size` bytes. Raises UserError where there are fewer."""
    remaining = size
    with open(path, "wb") as file:
        while remaining:
            piece = source.read(min(PIECE, remaining))
            if not piece:
                raise UserError(code=Code.DOWNLOAD_FAILED, subject="connection", expected=f"{size} bytes",
                                found=f"{size - remaining}")
            file.write(piece)
            remaining -= len(piece)


def pieces_of(path: Path) -> Iterator[bytes]:
    """A file's bytes."""
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            yield piece
