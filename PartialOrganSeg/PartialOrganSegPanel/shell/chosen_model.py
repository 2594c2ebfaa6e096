"""The model that the user chose last to segment with: a new scene begins with it, as long as it is installed."""

from __future__ import annotations

from . import settings
from .model_cards import installed_models
from .parameters import Parameters

_CHOSEN = "PartialOrganSeg/Model"


def choose_model(parameters: Parameters, name: str) -> None:
    """Segments with a model, in this scene and in new ones."""
    parameters.segment.model = name
    settings.write_setting(_CHOSEN, name)


def begin_with_chosen(parameters: Parameters) -> None:
    """Chooses that model in the parameters of a new scene, to segment with and to start fine-tuning from."""
    name = settings.read_setting(_CHOSEN)
    if name in installed_models():
        parameters.segment.model = parameters.finetune.model = name
