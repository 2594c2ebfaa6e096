"""The old name of `segmenting`, for bundles of 0.3.0 and before: their `configs/inference.json` imports from
`PartialOrganSegLib.inference.engine` and `.predictor`, and is checksummed, so it cannot be changed."""

import sys

from ..segmenting import engine, predictor

# An import looks here first, so that the old names are the same modules and no copies of them.
sys.modules[f"{__name__}.engine"] = engine
sys.modules[f"{__name__}.predictor"] = predictor
