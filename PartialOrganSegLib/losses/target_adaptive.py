"""Target adaptive loss (Fang 2020, equation 8): marginal cross entropy under the name of its paper."""

from __future__ import annotations

from .marginal import MarginalCrossEntropy
from .registry import LOSSES


@LOSSES.register("target_adaptive", source="Fang 2020 (8)")
class TargetAdaptive(MarginalCrossEntropy):
    """`-mean [sum_{c in C_k} y_c log p_c + 1(sum y_c = 0) log(1 - sum_{c in C_k} p_c)]`, C_k the annotated organs.

    The second term's probability is that of the merged background, hence the same function. The paper prints no minus.
    """
