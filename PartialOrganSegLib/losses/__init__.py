"""Losses by name (`registry`). Each is called `loss(logits, targets)` and gives a scalar."""

from __future__ import annotations

from ..loading.targets import SoftMap, Targets
from .crf import WindowedCRF
from .deep_supervision import DeepSupervision
from .distillation import Distillation
from .entropy import Entropy
from .exclusion import ExclusionCrossEntropy, ExclusionDice
from .intensity import IntensityVariance
from .marginal import MarginalCrossEntropy, MarginalDice
from .prior import Prior, PriorPrimalDual, prior_distribution
from .registry import LOSSES
from .soft_targets import SoftTargets
from .supervision import Supervision
from .target_adaptive import TargetAdaptive
from .weighted import WeightedLosses

__all__ = [
    "LOSSES", "DeepSupervision", "Distillation", "Entropy", "ExclusionCrossEntropy", "ExclusionDice",
    "IntensityVariance", "MarginalCrossEntropy", "MarginalDice", "Prior", "PriorPrimalDual", "SoftMap",
    "SoftTargets", "Supervision", "TargetAdaptive", "Targets", "WeightedLosses", "WindowedCRF",
    "prior_distribution",
]
