"""The labels of learning.py: what cases vouch for, and an aorta of a network that tells it apart and hides it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from PartialOrganSegLib.datasets.case import Case
from PartialOrganSegLib.formats.reading import read_labelmap
from PartialOrganSegLib.formats.writing import write_labelmap
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.models.bundle import Bundle, load_bundle
from PartialOrganSegLib.models.bundle_writing import write_bundle
from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.organs import WORD16, LabelSpace, label_space_of_names
from PartialOrganSegLib.segmenting.predictor import Predictor

AORTA = "aorta"
AORTA_SPACING = (3.0, 2.0, 2.0)  # mm (z, y, x): coarser than the network's own, and exact enough for a vessel so wide


def aorta_model(folder: Path) -> Bundle:
    """The embedded model's first network with the aorta as an organ of its own: the first of the classes that it tells
    apart and counts as background."""
    source = load_bundle("embedded").members[0].bundle
    names = [*source.label_space.names, AORTA]
    arguments = dict(source.network_arguments)
    arguments["more"] = list(arguments["more"])[1:]
    network = build_network(source.network_name, 1, len(names) + 1, **arguments)
    known = source.load_network().state_dict()
    state = dict(known)
    for name, value in known.items():
        if "more_layers" in name:
            classes = name.replace("more_layers", "seg_layers")
            state[name], state[classes] = value[1:], torch.cat([known[classes], value[:1]])
    network.load_state_dict(state)
    return write_bundle(folder, network, source.network_name, arguments, label_space_of_names("with_aorta", names),
                        replace(source.preprocessing, spacing_zyx=AORTA_SPACING), "with-aorta", "1",
                        source.metadata.partialorganseg.licences.model_dump(), [], {}, "The aorta as an organ")


def label_aortas(cases: Sequence[Case], folder: Path) -> None:
    """FOLDER/CASE.nii.gz, a mask of each case's aorta, made once."""
    missing = [case for case in cases if not (folder / f"{case.name}.nii.gz").exists()]
    if missing:
        bundle = aorta_model(folder / "model")
        predictor = Predictor(bundle, device="auto")
        value = bundle.label_space.index(AORTA)
        for case in missing:
            labels = predictor.predict(case.read_image()).labels
            write_labelmap(folder / f"{case.name}.nii.gz",
                           Volume((labels.array == value).astype(np.uint8), labels.grid))


def label_of(case: Case, organs: Sequence[str], space: LabelSpace, aortas: Path) -> tuple[Volume, list[str]]:
    """The masks of those `organs` that the case vouches for in the numbers of `space`, and which these are."""
    stored = read_labelmap(case.label)
    labels, annotated = np.zeros(stored.array.shape, np.uint8), []
    for organ in organs:
        if organ == AORTA:
            mask = read_labelmap(aortas / f"{case.name}.nii.gz").array > 0
        elif organ in case.annotated:
            mask = stored.array == WORD16.index(organ)
        else:
            continue
        labels[mask] = space.index(organ)
        annotated.append(organ)
    return Volume(labels, stored.grid), annotated
