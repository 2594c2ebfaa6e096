"""Where the network runs: on this computer, or on another one that serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slicer.i18n import tr as _

from PartialOrganSegLib.organs import WORD16, Organ

from ..shell.model_cards import ModelCard
from ..shell.parameters import SegmentParameters
from ..shell.section import SharedPanel

NAMES = ("serverEdit", "tokenEdit", "tokenButton", "authorityEdit", "authorityButton")


def elsewhere(settings: SegmentParameters) -> bool:
    """Whether another computer segments, with a model of its own."""
    return bool(settings.server.strip())


def server_arguments(settings: SegmentParameters) -> list[str]:
    """The command's options for another computer; none for this one."""
    if not elsewhere(settings):
        return []
    arguments = ["--on", settings.server.strip()]
    if settings.tokenFile.strip():
        arguments += ["--token-file", settings.tokenFile.strip()]
    if settings.authority.strip():
        arguments += ["--authority", settings.authority.strip()]
    return arguments


def model_text(settings: SegmentParameters) -> str:
    """What predicts: the chosen model, or the one of the server."""
    if not elsewhere(settings):
        return settings.model
    return _("the model of {server}").format(server=settings.server.strip())


def offered_organs(settings: SegmentParameters, models: Mapping[str, ModelCard]) -> tuple[Organ, ...]:
    """What can be ticked: the organs of the chosen model, or where none is installed the usual ones. Another computer
    says which of them its own model lacks."""
    card = models.get(settings.model)
    if card is not None:
        return card.organs
    if elsewhere(settings):
        return WORD16.organs
    return ()


def chosen_organs(settings: SegmentParameters, models: Mapping[str, ModelCard]) -> list[str]:
    """Names of the organs to segment; empty for all of them, or for none ticked."""
    if not settings.someOrgans:
        return []
    return [organ.name for organ in offered_organs(settings, models) if organ.name in settings.organs]


def known_organs(settings: SegmentParameters, models: Mapping[str, ModelCard]) -> tuple[Organ, ...]:
    """Codes and colours, in the order that segments get, of what the result may hold: the chosen model's organs, and
    where another computer's model segments those of every model."""
    organs = {organ.name: organ for organ in offered_organs(settings, models)}
    if elsewhere(settings):
        for others in (WORD16.organs, *(card.organs for card in models.values())):
            for organ in others:
                organs.setdefault(organ.name, organ)
    return tuple(organs.values())


class Computing:
    """The fields of *Compute on*; model and device are the server's where one is named."""

    def __init__(self, panel: SharedPanel, ui: Any) -> None:
        self._panel, self._ui = panel, ui
        ui.tokenButton.connect("clicked()", self._choose_token)
        ui.authorityButton.connect("clicked()", self._choose_authority)

    def refresh(self, working: bool) -> None:
        """Grey while a run works."""
        grey = working or elsewhere(self._panel.parameters.segment)
        for name in NAMES:
            getattr(self._ui, name).enabled = not working
        for name in ("modelBox", "deviceBox", "fastBox"):
            getattr(self._ui, name).enabled = not grey

    def _choose_token(self) -> None:
        path = self._panel.services.dialogs.choose_file(_("File of the server's token"), _("Files (*)"))
        if path is not None:
            self._panel.parameters.segment.tokenFile = str(path)

    def _choose_authority(self) -> None:
        path = self._panel.services.dialogs.choose_file(_("Certificate to trust"), _("Certificates (*.pem *.crt)"))
        if path is not None:
            self._panel.parameters.segment.authority = str(path)
