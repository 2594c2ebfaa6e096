"""Settings under the names that recipes gave them up to version 0.4: still read, with a warning of today's names."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class FormerSetting:
    """Where a setting is today (a dotted key), and how its value is read from the former one.

    `relation` says in the warning how both values belong together, where they differ.
    """

    today: str
    convert: Callable[[object], object] = lambda value: value
    relation: str = ""


def _alpha(share: object) -> object:
    """The trained weights' part, of the start model's; what is no number is left for validation to refuse."""
    if isinstance(share, bool) or not isinstance(share, int | float):
        return share
    return round(1 - share, 12)


def _alphas(shares: object) -> object:
    if not isinstance(shares, list):
        return shares
    return [_alpha(share) for share in shares]


PREPROCESSING = "preprocessing"
FORMER_SETTINGS = {
    "spacing_zyx": FormerSetting("preprocessing.spacing_zyx"),
    "patch_zyx": FormerSetting("preprocessing.patch_zyx"),
    "clip_hu": FormerSetting("preprocessing.clip_hu"),
    "subtract": FormerSetting("preprocessing.subtract"),
    "divide": FormerSetting("preprocessing.divide"),
    "start_share": FormerSetting("alpha", _alpha, " (1 - start_share)"),
    "validation.start_shares": FormerSetting("validation.alphas", _alphas, " (1 - each of start_shares)"),
}


def with_current_names(content: Mapping[str, object]) -> dict[str, object]:
    """The settings of a recipe under today's names; a FutureWarning names those that had a former one.

    Raises ValueError for a setting that is there under both names.
    """
    # The caller's groups of settings stay as they are.
    settings = copy.deepcopy(dict(content))
    renamed = {}
    for former, setting in FORMER_SETTINGS.items():
        holder, key = _place(settings, former)
        if holder is None or key not in holder:
            continue
        target, name = _place(settings, setting.today)
        # It is no group of settings at all, which validation reports.
        if target is None:
            continue
        if name in target:
            raise ValueError(f"{former}: expected {setting.today} alone, found both")
        target[name] = setting.convert(holder.pop(key))
        renamed[former] = setting
    if renamed:
        _warn(renamed)
    return settings


def current_override(key: str, value: object) -> tuple[str, object]:
    """A dotted key and its value as a recipe has them today, with a FutureWarning where the key is a former one."""
    setting = FORMER_SETTINGS.get(key)
    if setting is None:
        return key, value
    _warn({key: setting})
    return setting.today, setting.convert(value)


def _place(settings: dict[str, object], key: str) -> tuple[dict[str, object] | None, str]:
    """The group that a dotted key lies in, made where it is missing, and the key within it. None: no group is there."""
    group_name, _, name = key.rpartition(".")
    if not group_name:
        return settings, name
    group = settings.get(group_name)
    if group is None and group_name == PREPROCESSING:
        group = settings[group_name] = {}
    if not isinstance(group, dict):
        return None, name
    return group, name


def _warn(renamed: Mapping[str, FormerSetting]) -> None:
    today = ", ".join(f"{setting.today}{setting.relation}" for setting in renamed.values())
    names = "name" if len(renamed) == 1 else "names"
    warnings.warn(f"recipe: expected {today}, found its former {names} {', '.join(renamed)}", FutureWarning,
                  stacklevel=3)
