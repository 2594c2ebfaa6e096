"""Small cases and a small start model for the tests of fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from PartialOrganSegLib.errors import Problem
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.finetuning.evidence import OrganEvidence, PairedCase, organ_evidence
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.models.bundle import Bundle, Preprocessing
from PartialOrganSegLib.models.bundle_writing import write_bundle
from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.organs import LabelSpace, label_space_of_names
from Testing.helpers.training_data import SPACING_ZYX, blocks, write_image, write_yaml

ORGANS = ("liver", "spleen", "left_kidney")  # what `blocks` shows, in its numbering
NETWORK = {"channels": [8, 8]}
PREPROCESSING = Preprocessing(SPACING_ZYX, (-300.0, 500.0), 60.0, 150.0, (8, 16, 16))
LICENCES = {"code": "Apache-2.0", "weights": "CC0-1.0", "data": "CC0-1.0"}
# Few steps must change something, and every one may be the one that a test stops at.
QUICK = ("optimiser.learning_rate=0.01", "optimiser.ema=0.5", "augmentation.strength=0.0", "half_precision=false",
         "checkpoint_every=1", "workers=0")


class RunListener(Reporter):
    """Remembers warnings; raises `error` after step `at`."""

    def __init__(self, at: int = -1, error: BaseException | None = None) -> None:
        self.at, self.error, self.warnings, self.figures = at, error, [], []

    def progress(self, stage: str, step: int, total: int) -> None:
        if stage == "training" and step == self.at and self.error is not None:
            raise self.error

    def warning(self, message: str | Problem) -> None:
        self.warnings.append(str(message))

    def metric(self, **values: object) -> None:
        self.figures.append(values)


def three_patients(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, OrganEvidence]:
    """The evidence of three patients in each of whom an organ's Dice changed alike."""
    evidence = {}
    for organ in before:
        old, new = ([(round(5000 * dice[organ]), 10_000)] for dice in (before, after))
        evidence[organ] = organ_evidence(organ, [PairedCase(patient, old, new) for patient in "abc"])
    return evidence


def write_start(folder: Path, names: Sequence[str] = ORGANS, seed: int = 0, network_name: str = "light_unet") -> Bundle:
    """A start model with random weights."""
    torch.manual_seed(seed)
    space: LabelSpace = label_space_of_names("small", names)
    network = build_network(network_name, 1, space.class_count, **NETWORK)
    return write_bundle(folder, network, network_name, NETWORK, space, PREPROCESSING, "start", "1.2", LICENCES,
                        ["a data set"], {}, "Blocks.")


def ct_of(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """CT and labels of `blocks`, with air before the patient."""
    image, labels = blocks(seed)
    # Fine-tuning looks for the body: without air round it there would be none.
    image[:, :1] = -1000
    labels[:, :1] = 0
    return image, labels


def small_phantom(shape_zyx: Sequence[int], spacing_zyx: Sequence[float], seed: int) -> tuple[Volume, Volume]:
    """In place of `make_phantom`: `ct_of`, whatever the shape."""
    image, labels = ct_of(seed)
    grid = Grid((labels.shape[2], labels.shape[1], labels.shape[0]), SPACING_ZYX[::-1])
    return Volume(image, grid), Volume(labels, grid)


def write_cases(folder: Path, labels: Sequence[np.ndarray | None], kind: str = "partial",
                annotated: Sequence[str] = ("spleen",), seeds: Sequence[int] | None = None,
                label_space: Sequence[str] = ORGANS, images: Sequence[np.ndarray] | None = None) -> Path:
    """A manifest of cases with the given label arrays; None: the image alone. `images`: others than `ct_of` makes."""
    entries = []
    for number, array in enumerate(labels):
        seed = number if seeds is None else seeds[number]
        image = ct_of(seed)[0] if images is None else images[number]
        entry = {"image": str(write_image(folder / f"{seed}_image.nii.gz", image)), "name": f"case{number}",
                 "kind": "unlabelled" if array is None else kind}
        if array is not None:
            entry |= {"label": str(write_image(folder / f"{number}_label.nii.gz", array)),
                      "annotated": list(annotated)}
        entries.append(entry)
    return write_yaml(folder / "manifest.yaml", {"label_space": list(label_space),
                                                 "datasets": [{"name": "mine", "cases": entries}]})


def only(labels: np.ndarray, *organs: int) -> np.ndarray:
    """A label array with some organs left."""
    return np.where(np.isin(labels, organs), labels, 0).astype(np.uint8)
