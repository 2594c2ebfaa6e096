"""Segments abdominal organs of a CT and learns from whatever was annotated: full, partial, coarse, scribbled or not.

>>> import PartialOrganSegLib as pos
>>> result = pos.segment("ct.nii.gz", organs=["liver", "spleen"], device="cpu")
>>> liver = result.organs["liver"]          # liver.volume_ml, and liver.checks: what a person should look at
>>> files = result.save("organs.nii.gz")    # or a folder: label map, segmentation, table and picture
>>> picture = result.show()

The names below are imported when they are first used, so that importing the package takes no time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import evaluate, finetune, learn, load_model, refine, segment, train
    from .errors import UserError
    from .formats.reading import read_ct
    from .organs import LabelSpace
    from .refining.session import RefineSession
    from .segmenting.options import SegmentOptions
    from .segmenting.result import SegmentResult
    from .segmenting.segmenter import Segmenter

__version__ = "0.6.0"

__all__ = ["LabelSpace", "RefineSession", "SegmentOptions", "SegmentResult", "Segmenter", "UserError", "__version__",
           "evaluate", "finetune", "learn", "load_model", "read_ct", "refine", "segment", "train"]

_MODULES = {
    "segment": "api", "refine": "api", "learn": "api", "train": "api", "finetune": "api", "evaluate": "api",
    "load_model": "api",
    "read_ct": "formats.reading", "LabelSpace": "organs", "UserError": "errors",
    "SegmentOptions": "segmenting.options", "Segmenter": "segmenting.segmenter", "SegmentResult": "segmenting.result",
    "RefineSession": "refining.session",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Kept as a global, so that this function is asked once a name.
    value = getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
