"""Losses by name. Each takes a `Supervision` batch and gives a scalar; a new one is a file and a line in `LOSSES`."""

from __future__ import annotations

from .crf import WindowedCRF
from .deep_supervision import DeepSupervision, PooledSupervision
from .distillation import Distillation
from .entropy import Entropy
from .exclusion import ExclusionCrossEntropy, ExclusionDice
from .intensity import IntensityVariance
from .marginal import MarginalCrossEntropy, MarginalDice
from .prior import Prior, PriorPrimalDual, prior_distribution
from .soft_targets import SoftTargets
from .supervision import Supervision
from .target_adaptive import TargetAdaptive
from .voxels import SoftMap
from .weighted import LOSSES, WeightedLosses

__all__ = [
    "LOSSES", "DeepSupervision", "Distillation", "Entropy", "ExclusionCrossEntropy", "ExclusionDice",
    "IntensityVariance", "MarginalCrossEntropy", "MarginalDice", "PooledSupervision", "Prior", "PriorPrimalDual",
    "SoftMap", "SoftTargets", "Supervision", "TargetAdaptive", "WeightedLosses", "WindowedCRF", "prior_distribution",
]
