"""Asks another computer to segment a CT: sends its voxels, without names, and brings the results back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import Code, Problem, Severity, UserError
from ..events import Reporter
from ..imaging.volume import Volume
from ..outputs import all_at_once, refuse_existing, writable_folder
from ..segmenting.result_files import ENDINGS, earlier_of_other_kinds, remove_earlier, result_files
from .connection import Connection, opened
from .framing import RequestHead, Source, copy_to_file, read_event

LARGEST_FILE = 4 << 30


@dataclass(frozen=True)
class RemoteResult:
    """`files`: kind to file. `organs`: as the event of a segmented CT has them. `seconds` that the server worked."""

    files: Mapping[str, Path]
    organs: list[dict[str, Any]]
    seconds: float


def segment_remotely(ct: Volume, connection: Connection, folder: Path, name: str, organs: tuple[str, ...] | None = None,
                     preview: bool = True, force: bool = False, overwrite: bool = False,
                     reporter: Reporter | None = None) -> RemoteResult:
    """Segments `ct` on another computer; its files in `folder` are called `name` and appear together or not at all.

    Raises UserError for a server that cannot be reached, does not know us or has a problem with the CT.
    """
    from ..formats.writing import write_ct

    reporter = reporter or Reporter()
    files = result_files(writable_folder(folder), name, preview)
    refuse_existing(list(files.values()), overwrite)
    earlier = earlier_of_other_kinds(files, folder, name)
    with all_at_once(folder, name) as scratch:
        # written anew: a file of a clinic may name its patient in the header
        upload = scratch / "upload.nrrd"
        write_ct(upload, _small(ct))
        head = RequestHead(upload.stat().st_size, organs, force, preview)
        with opened(connection, head, upload, reporter) as answer:
            upload.unlink()
            received, result = _received(answer, scratch, name, reporter)
    remove_earlier(earlier, reporter)
    return RemoteResult({kind: files[kind] for kind in received}, result["organs"], float(result["seconds"]))


def _small(ct: Volume) -> Volume:
    """The CT with voxels of two bytes where these are whole numbers: half as much to send."""
    array, fits = ct.array, np.iinfo(np.int16)
    if array.dtype == np.int16 or array.min() < fits.min or array.max() > fits.max:
        return ct
    if not np.array_equal(np.rint(array), array):
        return ct
    return dataclasses.replace(ct, array=array.astype(np.int16))


def _received(answer: Source, scratch: Path, name: str, reporter: Reporter) -> tuple[list[str], dict[str, Any]]:
    """Kinds of the files that were received, and the facts of the result. Raises UserError."""
    kinds: list[str] = []
    result: dict[str, Any] = {}
    while True:
        event = read_event(answer)
        kind = event.get("event")
        if kind == "progress":
            done, total = _whole_number(event.get("done")), _whole_number(event.get("total"))
            reporter.progress(str(event.get("stage")), done, total)
        elif kind == "warning":
            reporter.warning(_problem(event, Severity.WARNING))
        elif kind == "error":
            raise UserError(_problem(event, Severity.ERROR))
        elif kind == "file":
            # what it is called is decided here: a server may be somebody else's by now
            of_kind, size = str(event.get("kind")), _whole_number(event.get("size"))
            if of_kind not in ENDINGS or of_kind in kinds or not 0 <= size <= LARGEST_FILE:
                raise UserError(code=Code.WRONG_FORMAT, subject="server", expected="a file of a result",
                                found=f"{of_kind!r:.40} of {size} bytes")
            copy_to_file(answer, size, scratch / (name + ENDINGS[of_kind]))
            kinds.append(of_kind)
        elif kind == "result" and isinstance(event.get("organs"), list):
            result = dict(event)
        elif kind == "end":
            break
    if not result or "segmentation" not in kinds:
        raise UserError(code=Code.WRONG_FORMAT, subject="server", expected="a result", found="an answer without one")
    return kinds, result


def _whole_number(number: object) -> int:
    if isinstance(number, int):
        return number
    raise UserError(code=Code.WRONG_FORMAT, subject="server", expected="a whole number", found=f"{number!r:.40}")


def _problem(event: Mapping[str, object], severity: Severity) -> Problem:
    """What the server said, of a kind that is known here."""
    codes = {code.value: code for code in Code}
    subject, expected, found, hint = (str(event.get(name) or "") for name in ("subject", "expected", "found", "hint"))
    return Problem(codes.get(str(event.get("code")), Code.GENERAL), subject, expected, found, hint, severity)
