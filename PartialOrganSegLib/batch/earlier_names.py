"""Which names earlier results have, so that a run that is resumed with more CTs gives none of them to another CT."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..errors import UserError
from ..segmenting.result_files import result_name
from .file_names import folded
from .fingerprint import fingerprint
from .records import FOLDER, Record, read_record


class EarlierNames:
    """The names that the records in an output folder give to CTs; none where there is no such folder."""

    def __init__(self, output: Path | None) -> None:
        self._records: dict[str, Record] = {}  # by the folded title
        self._fingerprints: dict[Path, str | None] = {}
        if output is None:
            return
        for file in sorted((output / FOLDER).rglob("*.json")):
            record = read_record(file)
            if record is not None and not file.name.startswith("."):
                self._records[folded(record.case)] = record

    def name_of(self, path: Path, series: str | None) -> str | None:
        """The name that an earlier run gave to the CT at this path by itself, not as the user's `output`."""
        usual = result_name(path)
        folder = Path(os.path.abspath(path)).parent.name
        automatic = re.compile(rf"({re.escape(folder)}_)?{re.escape(usual)}(_\d+)?")
        # A name that the user gave as `output` is no name that a CT gets by itself, so it is not taken up again.
        titles = [record.case for record in self._records.values()
                  if automatic.fullmatch(record.case) and _is_of(record, path, series)]
        return min(titles, key=len, default=None)

    def may_have(self, name: str, path: Path, series: str | None) -> bool:
        """Whether results of this name would take the place of no other CT's.

        A CT that was moved or copied is known by its content, which is read only when the name was another path's.
        """
        # A record without results, of a case that failed, keeps a name from nobody.
        record = self._records.get(folded(name))
        if record is None or not record.our_checksums or _is_of(record, path, series):
            return True
        same_series = record.made_from.get("series") == series
        return same_series and self._fingerprint(path) == record.made_from.get("ct")

    def _fingerprint(self, path: Path) -> str | None:
        """None for a CT that cannot be read: it is then like no other."""
        if path not in self._fingerprints:
            try:
                self._fingerprints[path] = fingerprint(path)
            except (UserError, OSError):
                self._fingerprints[path] = None
        return self._fingerprints[path]


def _is_of(record: Record, path: Path, series: str | None) -> bool:
    """Whether a record is of the CT at this path. One that failed early does not say of which series."""
    same_path = os.path.abspath(record.input) == os.path.abspath(path)
    return same_path and record.made_from.get("series", series) == series
