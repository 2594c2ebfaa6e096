"""CTs, lists and a predictor that takes no time, for the tests of `segment` over many CTs."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting.predictor import Prediction

UNLUCKY = 13  # slices of a CT that cannot be segmented


class SoftTissueIsLiver:
    """Stands in for the predictor; counts the CTs."""

    segmented = 0

    def __init__(self, bundle, device="auto", mirror=False, scales=(1.0,), precision="auto", combine="mean") -> None:
        self.bundle = bundle

    def predict(self, ct, organs=None, reporter=None):
        if ct.array.shape[0] == UNLUCKY:
            raise RuntimeError("unlucky number")
        type(self).segmented += 1
        labels = ((ct.array > 0) & (ct.array < 200)).astype(np.uint8)
        return Prediction(labels=Volume(labels, ct.grid), entropy={"liver": 0.1})


def quick_model(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Puts `SoftTissueIsLiver` and a model of nothing but checksums in place; gives the file of these."""
    (folder / "configs").mkdir(parents=True)
    checksums = folder / "configs" / "checksums.json"
    checksums.write_text("{}")
    monkeypatch.setattr("PartialOrganSegLib.segmenting.predictor.Predictor", SoftTissueIsLiver)
    monkeypatch.setattr("PartialOrganSegLib.models.bundle.load_bundle",
                        lambda name: SimpleNamespace(name=name, label_space=WORD16, folder=folder, folds=()))
    SoftTissueIsLiver.segmented = 0
    return checksums


def write_ct(path: Path, slices: int = 20, hu: int = 60) -> Path:
    """A CT (slices, 24, 24) of a block of `hu` in air."""
    array = np.full((slices, 24, 24), -1000, np.int16)
    array[4:-4, 4:-4, 4:-4] = hu
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    return path


def write_cts(folder: Path, names: str = "abc", slices: int = 20) -> Path:
    """A CSV of small CTs that differ."""
    for number, name in enumerate(names):
        write_ct(folder / f"{name}.nii.gz", slices, hu=40 + number)
    return write_list(folder / "cases.csv", "image", *(f"{name}.nii.gz" for name in names))


def write_list(path: Path, *lines: str) -> Path:
    """A text file of these lines."""
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def segmented(*words: object) -> int:
    """How many CTs the predictor saw while the command ran; it must have ended well."""
    before = SoftTissueIsLiver.segmented
    assert main(["segment", *map(str, words), "--no-preview"]) == 0
    return SoftTissueIsLiver.segmented - before


def table(output: Path) -> dict[str, dict[str, str]]:
    """The run table: a row by the name of its case."""
    with open(output / "run_table.csv", encoding="utf-8", newline="") as stream:
        return {row["case"]: row for row in csv.DictReader(stream)}


def hidden(output: Path) -> list[Path]:
    """Hidden files and lock files, which a finished run leaves none of."""
    return [path for path in output.rglob("*") if path.name.startswith(".") or path.suffix == ".lock"]


def write_dicom(path: Path, last: int) -> None:
    """A file that starts as DICOM files do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(128) + b"DICM" + bytes([last]))
