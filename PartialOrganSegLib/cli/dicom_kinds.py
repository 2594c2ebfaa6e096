"""The option --dicom: which DICOM files to write."""

from __future__ import annotations

import argparse

from ..errors import nearest
from ..formats.dicom_export import ENDINGS


def dicom_kinds(text: str) -> tuple[str, ...]:
    """Kinds from a text like `seg,rtstruct`, in their usual order."""
    wanted = [part.strip().lower() for part in text.split(",") if part.strip()]
    for kind in wanted:
        if kind not in ENDINGS:
            raise argparse.ArgumentTypeError(f"expected {', '.join(ENDINGS)}, found '{kind}'{nearest(kind, ENDINGS)}")
    if not wanted:
        raise argparse.ArgumentTypeError(f"expected {', '.join(ENDINGS)}, found nothing")
    return tuple(kind for kind in ENDINGS if kind in wanted)
