"""Asks what becomes of an earlier segmentation of a CT: once a scene, and again before corrections would be lost."""

from __future__ import annotations

from collections.abc import Collection

import slicer
from slicer.i18n import tr as _

from ..scene.organ_rows import PREDICTED, OrganRow, rows
from ..shell.parameters import EarlierResult, SegmentParameters
from ..shell.services import Dialogs


def ask_about_earlier(earlier: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode,
                      chosen: Collection[str], unseen: Collection[str], settings: SegmentParameters,
                      dialogs: Dialogs) -> bool:
    """Whether to go on. The answer is then `settings.earlier`, which also says whether there is something to ask.

    `chosen`: the organs that will be replaced, empty for all. `unseen`: those of which the review does not know whether
    somebody corrected them; they are asked about as if somebody did.
    """
    replaced = [row for row in rows(earlier) if not chosen or row.organ in chosen]
    corrected = [row for row in replaced if row.state != PREDICTED]
    doubtful = [row for row in replaced if row.state == PREDICTED and row.organ in unseen]
    asks = settings.earlier == EarlierResult.ASK
    if not asks and not (settings.earlier == EarlierResult.REPLACE and (corrected or doubtful)):
        return True
    lines = [_("{ct} has been segmented before: {name}.").format(ct=volume.GetName(), name=earlier.GetName())]
    if corrected:
        lines.append(_("Corrected or accepted there, and lost when replaced: {organs}.").format(
            organs=_names(corrected)))
    if doubtful:
        lines.append(_("Perhaps corrected there while section Review looked at another segmentation, and lost when "
                       "replaced: {organs}.").format(organs=_names(doubtful)))
    answer = dialogs.ask(_("Segment again"), "\n".join(lines),
                         [("replace", _("Replace it")), ("add", _("Keep it, add another"))])
    if answer is None:
        return False
    settings.earlier = EarlierResult(answer)
    return True


def _names(organs: Collection[OrganRow]) -> str:
    return ", ".join(dict.fromkeys(row.organ for row in organs))
