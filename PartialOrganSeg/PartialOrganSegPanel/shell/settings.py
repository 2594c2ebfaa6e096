"""What outlives scenes: values in Slicer's settings, of this computer's user."""

from __future__ import annotations

import slicer


def read_setting(key: str) -> str | None:
    """A value of Slicer's settings, None when there is none."""
    return slicer.app.settings().value(key)


def write_setting(key: str, value: str) -> None:
    """Keeps a value in Slicer's settings."""
    slicer.app.settings().setValue(key, value)
