"""Changes of single settings, as `--set key.sub=value` gives them."""

from __future__ import annotations

import os
from typing import Any

from ..errors import Code, UserError
from ..yaml_file import parse_yaml
from .former_settings import current_override

# Relative to the current folder, unlike those in the recipe's file.
PATHS = ("manifest", "start_from", "network.backbone_weights")


def apply_override(content: dict[str, Any], override: str) -> None:
    """Changes the settings `content` by one `key.sub=value` with a YAML value; a number is a place in a list.

    Raises UserError for a text of another form and for a key that leads into no group of settings.
    """
    key, separator, text = override.partition("=")
    if not separator:
        raise UserError(code=Code.VALUE_UNFIT, subject=f"--set {override}", expected="KEY=VALUE")
    value = parse_yaml(text, f"--set {override}")
    key, value = current_override(key, value)
    *groups, name = key.split(".")
    group = _group(content, groups, override)
    if not isinstance(group, dict):
        raise UserError(code=Code.VALUE_UNFIT, subject=f"--set {override}", expected="the key of a setting",
                        found=f"'{name}'")
    if key in PATHS and isinstance(value, str):
        value = os.path.abspath(os.path.expanduser(value))
    group[name] = value


def _group(content: dict[str, Any], keys: list[str], override: str) -> dict[str, Any] | list[Any]:
    """The group or list of settings at `keys`; groups that are missing are made."""
    group: dict[str, Any] | list[Any] = content
    for key in keys:
        inner: object
        if isinstance(group, dict):
            inner = group.setdefault(key, {})
        elif key.isdigit() and int(key) < len(group):
            inner = group[int(key)]
        else:
            raise UserError(code=Code.VALUE_OUT_OF_RANGE, subject=f"--set {override}",
                            expected=f"a number from 0 to {len(group) - 1}", found=f"'{key}'")
        if not isinstance(inner, dict | list):
            raise UserError(code=Code.UNKNOWN_NAME, subject=f"--set {override}",
                            found=f"'{key}' is not a group of settings")
        group = inner
    return group
