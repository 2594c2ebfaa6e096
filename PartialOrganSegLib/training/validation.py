"""Which cases of a manifest a run validates on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..datasets.manifest import Manifest
from ..errors import Code, UserError, did_you_mean
from .recipe import Recipe


def validation_groups(recipe: Recipe, manifest: Manifest) -> list[str]:
    """The groups that are validated on: the recipe's, or else the manifest's splits.

    Raises UserError for a group that the manifest does not have.
    """
    settings = recipe.validation
    held_out = held_out_groups(recipe.hold_out, manifest)
    if settings is None:
        return [group for group in manifest.validation_groups() if group not in held_out]
    remaining = replace(manifest, cases=tuple(case for case in manifest.cases if case.group not in held_out))
    chosen = _groups_called(settings.groups, remaining, "validation.groups")
    split = replace(remaining, validation=settings.share, seed=settings.seed).validation_groups()
    return sorted({*chosen, *split})


def held_out_groups(names: Sequence[str], manifest: Manifest) -> list[str]:
    """The groups that a recipe's `hold_out` names, by whichever of their names. Raises UserError for one that the
    manifest does not have."""
    return _groups_called(names, manifest, "hold_out")


def _groups_called(names: Sequence[str], manifest: Manifest, setting: str) -> list[str]:
    groups = []
    for name in names:
        group = manifest.group_called(name)
        if group is None:
            raise UserError(code=Code.UNKNOWN_NAME, subject=setting,
                            found=f"no case of group '{name}' in {manifest.path}",
                            hint=did_you_mean(name, manifest.group_names()))
        groups.append(group)
    return groups
