"""Which cases of a manifest a run validates on."""

from __future__ import annotations

from dataclasses import replace

from ..datasets.manifest import Manifest
from ..errors import Code, UserError, did_you_mean
from .recipe import Recipe


def validation_groups(recipe: Recipe, manifest: Manifest) -> list[str]:
    """The groups that are validated on: the recipe's, or else the manifest's splits.

    Raises UserError for a group that the manifest does not have.
    """
    settings = recipe.validation
    if settings is None:
        return [group for group in manifest.validation_groups() if group not in recipe.hold_out]
    cases = tuple(case for case in manifest.cases if case.group not in recipe.hold_out)
    groups = {case.group for case in cases}
    for group in settings.groups:
        if group not in groups:
            raise UserError(code=Code.UNKNOWN_NAME, subject="validation.groups",
                            found=f"no case of group '{group}' in {manifest.path}", hint=did_you_mean(group, groups))
    split = replace(manifest, cases=cases, validation=settings.share, seed=settings.seed).validation_groups()
    return sorted({*settings.groups, *split})
