"""How likely a voxel of each class is to be drawn, so that strokes do not teach that most of a patient is organ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..annotation import Kind
from ..events import Reporter
from ..formats.reading import read_ct
from ..imaging.components import voxel_counts
from ..loading.cache import TISSUE_HU
from .cases import TakenCase
from .start_view import StartView

# Strokes are no random sample of a class: the background's lie near organs, those of organs in their middle. With the
# whole correction organs came out too small, without it too large; half of it (of the logarithm) is in between.
TEMPER = 0.5
USUAL_RATE = 0.03  # of an organ's voxels, where none can be compared with the start model's
LEAST_OF_BACKGROUND = 1 / 400  # of the organs' rate, so that an organ's stroke also counts where no background is drawn


def draw_rates(cases: Sequence[TakenCase], view: StartView, reporter: Reporter) -> list[float]:
    """(C,) for `losses.MarginalCrossEntropy(draw_rates=...)`; empty without a case of strokes.

    A class's rate is the number of its drawn voxels by that of its voxels in the same CTs, as the start model finds
    them; of background those in tissue. A stroke that says "none of these organs" counts as background.
    Organs that nobody drew or that the start model lacks take the others' median.
    """
    drawn_cases = [case for case in cases if case.kind is Kind.SCRIBBLE and case.weight > 0]
    if not drawn_cases:
        return []
    drawn, there = np.zeros(view.space.class_count), np.zeros(view.space.class_count)
    for done, case in enumerate(drawn_cases):
        found = view.labels(case)
        counts = voxel_counts(found, len(there))
        counts[0] = ((read_ct(case.image, force=True).array > TISSUE_HU) & (found == 0)).sum()
        there += counts
        for classes, voxels in zip(case.sets, case.counts, strict=True):
            if len(classes) == 1 or (0 in classes and len(classes) < len(there)):
                drawn[min(classes)] += voxels
        reporter.progress("finding the organs drawn in", done + 1, len(drawn_cases))
    return tempered(drawn, there)


def tempered(drawn: np.ndarray, there: np.ndarray) -> list[float]:
    """(C,) rates to the power of `TEMPER` for voxels drawn of those there, (C,) each, the background first."""
    known = (drawn > 0) & (there > 0)
    rates = np.divide(drawn, there, out=np.zeros(len(drawn)), where=known).clip(0, 1)
    organs = rates[1:][known[1:]]
    usual = float(np.median(organs)) if len(organs) else USUAL_RATE
    rates[1:][~known[1:]] = usual
    rates[0] = max(rates[0], LEAST_OF_BACKGROUND * usual)
    return [float(f"{rate:.3g}") for rate in rates ** TEMPER]
