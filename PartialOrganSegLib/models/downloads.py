"""Models of others that can be fetched on request: `resources/downloads.json` says from where and on which terms."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..json_file import read_json
from ..resources import resource
from .bundle import Bundle
from .checksums import sha256
from .folders import NAME_PATTERN, free_folder
from .http_file import fetch_file
from .nnunet_import import import_nnunet
from .zip_entries import entries_of, inner_path, unpack

# Of an nnU-Net results folder; the rest of a zip (logs, pictures, pickles) is left where it is.
NEEDED = (".json", ".pth")
_EXPECTED = "a zip of an nnU-Net results folder"


class Download(BaseModel):
    """An nnU-Net v2 results folder as a zip of about `megabytes` at `url`. `sha256` None: nobody stated it and it is
    not compared."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    title: str
    url: Annotated[str, Field(pattern=r"^https://")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    megabytes: int
    licence: str
    label_map: str


def downloads() -> dict[str, Download]:
    """All that can be fetched, by name. Raises UserError for a broken list."""
    path = resource("downloads.json")
    content = read_json(path, "list of downloads")
    listed = content["models"] if isinstance(content, dict) else []
    try:
        entries = [Download.model_validate(entry) for entry in listed]
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(code=Code.WRONG_FORMAT, subject=f"{path}: {'.'.join(map(str, first['loc']))}",
                        found=first["msg"]) from None
    return {entry.name: entry for entry in entries}


def fetch(download: Download, replace: bool = False, reporter: Reporter | None = None) -> Bundle:
    """Downloads a model, imports it and installs it under its name. What fails leaves nothing behind.

    Raises UserError, before anything is downloaded, for a name that is taken; when the address cannot be reached, for a
    wrong checksum and for an unsafe or unfitting zip.
    """
    reporter = reporter or Reporter()
    free_folder(download.name, replace)  # before hundreds of megabytes are downloaded in vain
    # What a virus scanner of Windows has open stays there; the model is installed all the same.
    with tempfile.TemporaryDirectory(prefix="partialorganseg-", ignore_cleanup_errors=True) as scratch:
        archive = Path(scratch) / "download.zip"
        fetch_file(download.url, archive, lambda done, size: reporter.progress("download", done >> 20,
                                                                                max(size, done) >> 20))
        checksum = sha256(archive)
        if download.sha256 is None:
            reporter.warning(Problem(Code.NO_CHECKSUM, download.url, found="no checksum is known to compare with",
                                     hint=f"it has SHA-256 {checksum}"))
        elif checksum != download.sha256:
            raise UserError(code=Code.CHECKSUM_DIFFERS, subject=f"{download.url}: wrong checksum",
                            expected=f"SHA-256 {download.sha256}", found=checksum)
        folder = Path(scratch) / "model"
        _unzip(archive, folder, download.url)
        return import_nnunet(folder, download.label_map, name=download.name, licence=download.licence,
                             replace=replace, reporter=reporter)


def _unzip(archive: Path, folder: Path, source: str) -> None:
    """Extracts the files that an import needs, none of them outside of `folder`."""
    places = {}
    for entry in entries_of(archive, source, _EXPECTED):
        path = inner_path(entry, source)
        if path.suffix in NEEDED:
            places[entry] = folder / path
    unpack(archive, places, source, _EXPECTED)
