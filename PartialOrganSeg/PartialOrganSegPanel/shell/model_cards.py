"""The installed models as the panel shows them, read from their metadata alone: no PyTorch is needed for that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PartialOrganSegLib.models.folders import METADATA_FILE, model_folders
from PartialOrganSegLib.organs import Code, Organ
from PartialOrganSegLib.resources import resource

UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError)  # what damaged metadata lead to


@dataclass(frozen=True)
class ModelCard:
    """What a user chooses a model by. `licence` is that of the weights, `licences` all: of code, weights and data."""

    name: str
    version: str
    description: str
    organs: tuple[Organ, ...]
    licence: str
    licences: Mapping[str, str] = field(default_factory=dict)
    training_data: tuple[Any, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    folder: Path = Path()


def installed_models() -> dict[str, ModelCard]:
    """Name to card; one whose metadata cannot be read is left out (`models verify` says why)."""
    cards = {}
    # one damaged model must not hide the others
    for name, folder in model_folders().items():
        try:
            cards[name] = read_card(name, folder)
        except UNREADABLE:
            continue
    return cards


@dataclass(frozen=True)
class DownloadCard:
    """A model of others that can be downloaded: what a user must know before. The size is about `megabytes`."""

    name: str
    title: str
    url: str
    megabytes: int
    licence: str


def downloadable_models() -> dict[str, DownloadCard]:
    """By name, without those that are installed."""
    content = json.loads(resource("downloads.json").read_text(encoding="utf-8"))
    cards = [DownloadCard(*(entry[name] for name in ("name", "title", "url", "megabytes", "licence")))
             for entry in content["models"]]
    installed = model_folders()
    return {card.name: card for card in cards if card.name not in installed}


def read_card(name: str, folder: Path) -> ModelCard:
    """The card of a model's folder. Raises one of `UNREADABLE` for metadata that say no such thing."""
    metadata = json.loads((folder / METADATA_FILE).read_text(encoding="utf-8"))
    details = metadata["partialorganseg"]
    licences = {part: str(text) for part, text in details["licences"].items()}
    training_data = details.get("training_data", ())
    # joined models of 0.6.0 and earlier list it once for each of their networks
    training_data = tuple(fact for place, fact in enumerate(training_data) if fact not in training_data[:place])
    return ModelCard(name, metadata["version"], metadata.get("description", ""),
                     tuple(_organ(facts) for facts in details["label_space"]["organs"]), licences["weights"], licences,
                     training_data, details.get("metrics", {}), folder)


def _organ(facts: dict) -> Organ:
    modifier = None
    if facts.get("modifier"):
        modifier = Code(**facts["modifier"])
    return Organ(facts["index"], facts["name"], Code(**facts["code"]), tuple(facts["colour"]), modifier)
