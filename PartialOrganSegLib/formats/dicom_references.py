"""What a DICOM object refers to: the series of the images that it describes, its structures' names and their number."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Code, UserError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


MOST_STRUCTURES = 2000  # each takes a mask of the whole CT; planning systems draw some hundred at most


def refuse_too_many(path: Path, count: int) -> None:
    """Raises UserError for more structures than anybody draws: masks of them would never come to an end."""
    if count > MOST_STRUCTURES:
        raise UserError(code=Code.TOO_LARGE, subject=path, expected=f"at most {MOST_STRUCTURES} structures",
                        found=f"{count} or more")


def name_in(item: Dataset, keyword: str) -> str:
    """The name that an item gives its structure, empty where it gives none. A backslash, which no name may hold, is
    for a DICOM reader the end of one value; where one was written it stays."""
    value = item.get(keyword) or ""
    if isinstance(value, str):
        return value.strip()
    return "\\".join(map(str, value)).strip()


def first_series(dataset: Dataset) -> str:
    """The UID of the first series that a dataset refers to, empty where it refers to none."""
    for element in dataset.iterall():
        if element.keyword == "SeriesInstanceUID" and element.value != dataset.get("SeriesInstanceUID"):
            return str(element.value)
    return ""
