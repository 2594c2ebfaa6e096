"""The option --dicom: which DICOM files to write."""

from __future__ import annotations

import argparse

from ..errors import UsageError
from ..segmenting.options import check_dicom


def dicom_kinds(text: str) -> tuple[str, ...]:
    """Kinds from a text like `seg,rtstruct`, in their usual order."""
    # The check belongs to the options object, which names its field; argparse names the option itself.
    try:
        return check_dicom(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("dicom: ")) from None
