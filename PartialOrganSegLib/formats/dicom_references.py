"""What a DICOM object refers to: the series of the images that it describes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def first_series(dataset: Dataset) -> str:
    """The UID of the first series that a dataset refers to, empty where it refers to none."""
    for element in dataset.iterall():
        if element.keyword == "SeriesInstanceUID" and element.value != dataset.get("SeriesInstanceUID"):
            return str(element.value)
    return ""
