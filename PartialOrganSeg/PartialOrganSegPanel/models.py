"""The installed models as the panel shows them, read from their metadata alone: no PyTorch is needed for that."""

from __future__ import annotations

import json
from dataclasses import dataclass

from PartialOrganSegLib.models.folders import METADATA_FILE, model_folders
from PartialOrganSegLib.organs import Code, Organ


@dataclass(frozen=True)
class ModelCard:
    """What a user chooses a model by."""

    name: str
    version: str
    description: str
    organs: tuple[Organ, ...]
    licence: str


def installed_models() -> dict[str, ModelCard]:
    """Name to card; one whose metadata cannot be read is left out (`models verify` tells why)."""
    cards = {}
    for name, folder in model_folders().items():
        try:
            metadata = json.loads((folder / METADATA_FILE).read_text(encoding="utf-8"))
            own = metadata["partialorganseg"]
            organs = tuple(_organ(facts) for facts in own["label_space"]["organs"])
            cards[name] = ModelCard(name, metadata["version"], metadata.get("description", ""), organs,
                                    own["licences"]["weights"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return cards


def _organ(facts: dict) -> Organ:
    modifier = facts.get("modifier")
    return Organ(facts["index"], facts["name"], Code(**facts["code"]), tuple(facts["colour"]),
                 Code(**modifier) if modifier else None)
