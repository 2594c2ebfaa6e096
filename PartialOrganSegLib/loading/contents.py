"""What cached arrays were made from, by content: a project that was renamed, moved or copied keeps its cache."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

from ..atomic import whole_file
from ..formats.detached import files_of_image
from ..formats.folder_files import files_below

FILE = "contents.json"


class Contents:
    """Checksums of files and DICOM folders, remembered in `folder` by place, size and time so that each is read once.

    The memory is only a saving: where it is lost or damaged, the files are read again.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._changed = False
        self._stored: dict[str, tuple[str, str]] = {}  # path -> what it looked like, its content
        try:
            stored = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return
        if isinstance(stored, dict):
            for path, entry in stored.items():
                if isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) for part in entry):
                    self._stored[path] = (entry[0], entry[1])

    def of(self, path: Path) -> str:
        """The content's checksum: of a file, of a header with the voxels it names, or of a folder's files in any order.

        Raises OSError for a file that cannot be read.
        """
        files = list(files_below(path)) if path.is_dir() else files_of_image(path)
        # A tool may set any time of a file, but not when its entry last changed.
        look = digest([(stamps(file), file.stat().st_ctime_ns) for file in sorted(files)])
        earlier = self._stored.get(str(path))
        if earlier is not None and earlier[0] == look:
            return earlier[1]
        # Names do not count: a copy of a DICOM folder may number its files in another way.
        content = digest(sorted(_sha256(file) for file in files))
        self._stored[str(path)] = (look, content)
        self._changed = True
        return content

    def save(self) -> None:
        """Writes what was learnt. A folder that cannot be written is no reason to stop: the files are read again."""
        if self._changed:
            with contextlib.suppress(OSError), whole_file(self._file) as temporary:
                temporary.write_text(json.dumps(self._stored), encoding="utf-8")
            self._changed = False


def digest(value: object) -> str:
    """A short name for what an array was made from."""
    return hashlib.sha256(json.dumps(value, default=str).encode()).hexdigest()[:12]


def stamps(path: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of a file, or of every file in a DICOM folder."""
    files = [path]
    if path.is_dir():
        files = sorted(files_below(path))
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def _sha256(file: Path) -> str:
    checksum = hashlib.sha256()
    with open(file, "rb") as stream:
        while chunk := stream.read(1 << 20):
            checksum.update(chunk)
    return checksum.hexdigest()
