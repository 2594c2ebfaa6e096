"""A bundle of a network of two convolutions in the place of the registered ones, for tests that are about files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import PartialOrganSegLib.networks
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.models.bundle import Bundle, Preprocessing
from PartialOrganSegLib.models.bundle_writing import write_bundle
from PartialOrganSegLib.organs import WORD16, LabelSpace

PREPROCESSING = Preprocessing((3.0, 2.0, 2.0), (-200.0, 300.0), 50.0, 100.0, (16, 32, 32))


def small_network(name: str, in_channels: int, classes: int, width: int = 4) -> torch.nn.Module:
    """Stands for `build_network`; knows the name "small" only."""
    if name != "small":
        raise UserError(f"unknown network '{name}'")
    return torch.nn.Sequential(torch.nn.Conv3d(in_channels, width, 3, padding=1), torch.nn.BatchNorm3d(width),
                               torch.nn.Conv3d(width, classes, 1))


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of every registered network; a test file that imports this fixture uses it in all of its tests."""
    monkeypatch.setattr(PartialOrganSegLib.networks, "build_network", small_network, raising=False)


def written(folder: Path, space: LabelSpace = WORD16, **changes) -> tuple[Bundle, torch.nn.Module]:
    """The bundle written into `folder`, and its network; `changes` are arguments of `write_bundle`."""
    settings = {"network_name": "small", "network_arguments": {"width": 6}, "label_space": space,
                "preprocessing": PREPROCESSING, "name": "test-model", "version": "1.0.0",
                "licences": {"code": "Apache-2.0", "weights": "research only", "data": "none"},
                "training_data": [{"name": "none"}], "metrics": {"dice": {"liver": 0.9}}, "description": "A test.",
                "card": "# Card ä\n"} | changes
    network = small_network("small", 1, space.class_count, 6)
    with torch.no_grad():
        # Below half precision's smallest number: statistics that are rounded would become 0.
        network[1].running_var.fill_(1e-9)
    return write_bundle(folder, network, **settings), network
