"""What a run of the command is at, in the user's language: the command's own words are for a terminal."""

from __future__ import annotations

from slicer.i18n import tr as _


def stage_text(stage: str) -> str:
    """In a few words; a stage that a newer library has is shown as it says."""
    return {"segment": _("segmenting"), "cases": _("CTs"), "training": _("learning"), "validation": _("measuring"),
            "download": _("downloading, MB"), "reading cases": _("reading the CTs"), "checking": _("checking"),
            "making phantoms": _("making synthetic CTs"), "measuring the speed": _("measuring the speed"),
            "looking at what the start model knows": _("looking at what the start model knows"),
            "comparing with the start model": _("comparing with the start model"),
            "finding the organs drawn in": _("finding the organs drawn in"),
            "reading slices": _("reading slices"), "reading DICOM headers": _("reading DICOM headers"),
            "sending the CT": _("sending the CT"),
            "waiting for the CT before": _("waiting for another CT")}.get(stage, stage)
