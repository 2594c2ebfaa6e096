"""The licence of a model is shown before its first use; what was shown is remembered in Slicer's settings."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from slicer.i18n import tr as _

from . import settings
from .model_cards import ModelCard

if TYPE_CHECKING:
    from .services import Dialogs


def licence_text(card: ModelCard) -> str:
    """All licences of a model, a line each."""
    titles = {"code": _("Code"), "weights": _("Weights"), "data": _("Training data")}
    return "\n".join(f"{titles.get(part, part)}: {text}" for part, text in card.licences.items())


def fingerprint(card: ModelCard) -> str:
    """Changes with any of the licences, so that a new text is shown anew."""
    return hashlib.sha256(json.dumps(dict(card.licences), sort_keys=True).encode()).hexdigest()


def setting(card: ModelCard) -> str:
    """Under which key the fingerprint of the accepted licences is kept."""
    return f"PartialOrganSeg/AcceptedLicences/{card.name}"


def may_use(card: ModelCard, dialogs: Dialogs) -> bool:
    """Shows the licences at the first use of a model; whether the user goes on with it."""
    # a newer version of the model may come with other licences: then the user is asked again
    if settings.read_setting(setting(card)) == fingerprint(card):
        return True
    text = _("Licences of the model {name}:").format(name=card.name) + "\n\n" + licence_text(card)
    if dialogs.ask(_("Licence"), text, [("accept", _("Accept and use"))]) != "accept":
        return False
    settings.write_setting(setting(card), fingerprint(card))
    return True
