"""Where the network runs: on this computer, or on another one that serves."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from ..shell.parameters import SegmentParameters
from ..shell.section import SharedPanel

NAMES = ("serverEdit", "tokenEdit", "tokenButton", "authorityEdit", "authorityButton")


def server_arguments(settings: SegmentParameters) -> list[str]:
    """The command's options for another computer; none for this one."""
    if not settings.server.strip():
        return []
    arguments = ["--on", settings.server.strip()]
    if settings.tokenFile.strip():
        arguments += ["--token-file", settings.tokenFile.strip()]
    if settings.authority.strip():
        arguments += ["--authority", settings.authority.strip()]
    return arguments


def model_text(settings: SegmentParameters) -> str:
    """What predicts: the chosen model, or the one of the server."""
    if not settings.server.strip():
        return settings.model
    return _("the model of {server}").format(server=settings.server.strip())


class Computing:
    """The fields of *Compute on*; model and device are the server's where one is named."""

    def __init__(self, panel: SharedPanel, ui: Any) -> None:
        self._panel, self._ui = panel, ui
        ui.tokenButton.connect("clicked()", self._choose_token)
        ui.authorityButton.connect("clicked()", self._choose_authority)

    def refresh(self, working: bool) -> None:
        """Grey while a run works."""
        elsewhere = bool(self._panel.parameters.segment.server.strip())
        for name in NAMES:
            getattr(self._ui, name).enabled = not working
        for name in ("modelBox", "deviceBox", "fastBox"):
            getattr(self._ui, name).enabled = not (working or elsewhere)

    def _choose_token(self) -> None:
        path = self._panel.services.dialogs.choose_file(_("File of the server's token"), _("Files (*)"))
        if path is not None:
            self._panel.parameters.segment.tokenFile = str(path)

    def _choose_authority(self) -> None:
        path = self._panel.services.dialogs.choose_file(_("Certificate to trust"), _("Certificates (*.pem *.crt)"))
        if path is not None:
            self._panel.parameters.segment.authority = str(path)
