"""Removes a model that the user installed. Shipped ones stay."""

from __future__ import annotations

import contextlib
import shutil
import uuid

from slicer.i18n import tr as _

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.models.folders import user_models

from ..shell.model_cards import ModelCard


def why_not_remove(card: ModelCard) -> str:
    """Why a model cannot be removed; empty when it can."""
    with contextlib.suppress(UserError):  # who has no folder for models has the shipped ones alone
        if card.folder.parent == user_models():
            return ""
    return _("{name} is shipped with the extension and stays.").format(name=card.name)


def remove_model(card: ModelCard) -> None:
    """Removes the model's folder. It is renamed first, so that no half of a model is left in the list. Raises OSError
    with the model as it was, or out of the list and partly deleted."""
    # a name with a dot in front is no model for the list, and a random one is free
    renamed = card.folder.with_name(f".removed-{uuid.uuid4().hex[:8]}")
    card.folder.rename(renamed)
    shutil.rmtree(renamed)
