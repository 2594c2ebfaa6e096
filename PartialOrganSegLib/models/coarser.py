"""A model that sees CTs on a coarser grid than it was trained on: fewer windows, less time, less of small organs."""

from __future__ import annotations

from dataclasses import replace

from ..errors import Code, UserError
from ..imaging.shapes import Spacing3
from .bundle import Bundle, Member

# mm, (z, y, x). A network trained near 2 x 1.5 x 1.5 mm bears it: liver and kidneys lose a few thousandths of Dice.
FAST_SPACING: Spacing3 = (3.0, 2.0, 2.0)


def coarser(bundle: Bundle, spacing_zyx: Spacing3 = FAST_SPACING) -> Bundle:
    """The model with every network's working spacing (z, y, x in mm) raised to `spacing_zyx` where it is finer.

    Weights and windows (in voxels) stay, so that a window sees more of the body. A model that sees no finer grid anyway
    comes back as it is. Raises UserError for a model imported from nnU-Net, whose predictor resamples by rules of its
    own.

    >>> from PartialOrganSegLib.models.bundle import load_bundle
    >>> [member.bundle.preprocessing.spacing_zyx for member in coarser(load_bundle("embedded")).members]
    [(3.0, 2.0, 2.0), (4.0, 3.0, 3.0)]
    """
    if bundle.nnunet is not None:
        raise UserError(code=Code.SETTINGS_CONFLICT, subject="fast",
                        expected=f"off for {bundle.name}, a model imported from nnU-Net", found="on")
    members = tuple(Member(coarser(member.bundle, spacing_zyx), member.organs) for member in bundle.members)
    folds = tuple(coarser(fold, spacing_zyx) for fold in bundle.folds)
    z, y, x = (max(own, least) for own, least in zip(bundle.preprocessing.spacing_zyx, spacing_zyx, strict=True))
    return replace(bundle, preprocessing=replace(bundle.preprocessing, spacing_zyx=(z, y, x)), members=members,
                   folds=folds)
