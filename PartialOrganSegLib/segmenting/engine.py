"""What MONAI's bundle runner drives: its name for this is `evaluator`, a workflow engine with `run()`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from .predictor import Predictor
from .segmenter import Segmenter


class Engine:
    """Segments every item of `dataset`: the CT `image` (file or DICOM folder) into the labelmap `label`."""

    def __init__(self, inferer: Predictor, dataset: Sequence[Mapping[str, Path]]) -> None:
        self.inferer, self.dataset = inferer, dataset

    def run(self) -> None:
        """Raises UserError for the first item that cannot be read or written."""
        segmenter = Segmenter(predictor=self.inferer)
        for item in self.dataset:
            segmenter(item["image"]).write({"labelmap": item["label"]})
