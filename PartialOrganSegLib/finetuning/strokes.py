"""How likely a voxel of each class is to be drawn, so that strokes do not teach that most of a patient is organ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..annotation import Kind
from ..events import Reporter
from ..formats.reading import read_ct
from ..imaging.components import voxel_counts
from ..loading.cache import TISSUE_HU
from .cases import PreparedCase
from .start_predictions import StartPredictions

# Strokes are no random sample of a class: the background's lie near organs, those of organs in their middle. With the
# whole correction organs came out too small, without it too large; half of it (of the logarithm) is in between.
TEMPER = 0.5
# Of an organ's voxels, where none can be compared with the start model's.
USUAL_RATE = 0.03
# Of the organs' rate, so that an organ's stroke also counts where no background is drawn.
LEAST_OF_BACKGROUND = 1 / 400


def draw_rates(cases: Sequence[PreparedCase], predictions: StartPredictions, reporter: Reporter) -> list[float]:
    """(C,) for `losses.MarginalCrossEntropy(draw_rates=...)`; empty without a case of strokes.

    A class's rate is the number of its drawn voxels by that of its voxels in the same CTs, as the start model finds
    them; of background those in tissue. A stroke that says "none of these organs" counts as background.
    Organs that nobody drew or that the start model lacks take the median rate of the organs drawn.
    """
    drawn_cases = [case for case in cases if case.kind is Kind.SCRIBBLE and case.weight > 0]
    if not drawn_cases:
        return []
    class_count = predictions.space.class_count
    drawn, present = np.zeros(class_count), np.zeros(class_count)
    for number, case in enumerate(drawn_cases):
        labels = predictions.labels(case)
        counts = voxel_counts(labels, class_count)
        tissue = read_ct(case.image, force=True).array > TISSUE_HU
        counts[0] = (tissue & (labels == 0)).sum()
        present += counts
        for classes, voxels in zip(case.candidate_sets, case.set_voxels, strict=True):
            if len(classes) == 1 or (0 in classes and len(classes) < class_count):
                drawn[min(classes)] += voxels
        reporter.progress("finding the organs drawn in", number + 1, len(drawn_cases))
    return tempered(drawn, present)


def tempered(drawn: npt.NDArray[np.float64], present: npt.NDArray[np.float64]) -> list[float]:
    """(C,) rates to the power of `TEMPER`: of the voxels of each class, (C,) `present` ones, those `drawn`.

    The background comes first.
    """
    comparable = (drawn > 0) & (present > 0)
    rates = np.divide(drawn, present, out=np.zeros(len(drawn)), where=comparable).clip(0, 1)
    organ_rates = rates[1:][comparable[1:]]
    usual = float(np.median(organ_rates)) if len(organ_rates) else USUAL_RATE
    rates[1:][~comparable[1:]] = usual
    rates[0] = max(rates[0], LEAST_OF_BACKGROUND * usual)
    return [float(f"{rate:.3g}") for rate in rates ** TEMPER]
