"""The model that the user chose last to segment with: a new scene begins with it, as long as it is installed."""

from __future__ import annotations

import slicer

from . import settings
from .model_cards import installed_models
from .parameters import Parameters, SegmentParameters

_CHOSEN = "PartialOrganSeg/Model"
_BEGUN = "begun"  # parameter of a scene that has had its choice


def choose_model(parameters: Parameters, name: str) -> None:
    """Segments with a model, in this scene and in new ones."""
    parameters.segment.model = name
    settings.write_setting(_CHOSEN, name)


def is_new(node: slicer.vtkMRMLScriptedModuleNode) -> bool:
    """Whether a parameter node is that of a new scene. It may hold parameters nevertheless: when a scene is closed, the
    typed view of the one before writes its defaults into the emptied node."""
    chosen_before = node.GetParameter("segment.model") not in ("", SegmentParameters().model)
    return not node.GetParameter(_BEGUN) and not chosen_before


def begin_with_chosen(parameters: Parameters, node: slicer.vtkMRMLScriptedModuleNode) -> None:
    """Chooses that model in the parameters of a new scene, to segment with and to start fine-tuning from."""
    node.SetParameter(_BEGUN, "yes")
    name = settings.read_setting(_CHOSEN)
    if name in installed_models():
        parameters.segment.model = parameters.finetune.model = name
