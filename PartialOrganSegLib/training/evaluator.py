"""Validation: Dice per organ on cases that are not trained on, where their annotation is sure."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..annotation import UNKNOWN, Kind
from ..errors import Code, UserError
from ..evaluation.metrics import candidate_dice
from ..events import Reporter
from ..loading.cache import CachedCase
from ..models.bundle import Preprocessing
from ..organs import LabelSpace
from ..segmenting.scores import best_classes
from .best_figures import MEAN
from .distributed import Processes
from .frozen_members import Division, FrozenMembers
from .overlaps import CaseOverlaps, Measurement, Overlap
from .working_prediction import Precision, predicted_logits

# That the network sees beyond those that are evaluated.
CONTEXT_SLICES = 12


class Evaluator:
    """Measures a network on cases at working spacing, each organ where the case's annotation is sure of it."""

    def __init__(self, cases: Sequence[CachedCase], table: npt.NDArray[np.bool_], label_space: LabelSpace,
                 preprocessing: Preprocessing, device: torch.device, processes: Processes,
                 members: FrozenMembers | None = None, scales: Sequence[float] = (1.0,),
                 precision: Precision = contextlib.nullcontext) -> None:
        """`table` (K, C): the candidate sets. `members`: those of a joined model beside the network that is measured.
        `scales`: the sizes in plane at which the network sees a case. `precision`: that it computes in, best the one
        that it is trained in and CTs are segmented in: on a CPU bfloat16 measures in a third of the time.

        Raises UserError where no case is sure of any organ.
        """
        self._members, self._scales, self._precision = members, tuple(scales), precision
        self._cases, self._table, self._space = list(cases), table, label_space
        self._preprocessing, self._device, self._processes = preprocessing, device, processes
        self._background_codes = {code for code, allowed in enumerate(table) if allowed[0] and allowed.sum() == 1}
        self._organs_of_case = [self._sure_organs(cached) for cached in self._cases]
        if not any(self._organs_of_case):
            raise UserError(code=Code.NO_LABELS, subject="validation", expected="cases with a label to compare with",
                            found="none")

    def evaluate(self, network: nn.Module, weights: Mapping[str, torch.Tensor], reporter: Reporter,
                 division: Division | None = None) -> dict[str, float]:
        """The Dice of `measure` alone."""
        return self.measure(network, weights, reporter, division).dice

    def measure(self, network: nn.Module, weights: Mapping[str, torch.Tensor], reporter: Reporter,
                division: Division | None = None) -> Measurement:
        """Dice of each organ, mean over its cases, and "mean" over the organs, with `weights` in a copy of `network`.

        `division`: of which organs it and the frozen members of a joined model have the say; what is measured is then
        what all of them say together. Without any organ to measure there are no figures.
        """
        # The network goes on training with its own weights, in train mode.
        network = copy.deepcopy(network).eval()
        network.load_state_dict(weights)
        # Sums, as every process measures its part of the cases.
        dice = torch.zeros(len(self._cases), self._space.class_count)
        measured = torch.zeros_like(dice)
        overlaps: list[Overlap] = []
        for number in range(self._processes.rank, len(self._cases), self._processes.size):
            case_overlaps = self._measure_case(number, network, division)
            for organ in self._organs_of_case[number]:
                value, _ = candidate_dice(case_overlaps.counts, self._table, [organ])
                # An organ that neither the case nor the network shows has none.
                if value is None:
                    continue
                dice[number, organ], measured[number, organ] = value, 1
                case = self._cases[number].case
                overlaps.append({"image": str(case.image), "case": case.name, "organ": self._space.names[organ - 1],
                                 "slabs": case_overlaps.slabs(organ)})
            reporter.progress("validation", number + 1, len(self._cases))
        if self._members is not None:
            self._members.release()
        dice = self._processes.sum(dice.to(self._device)).cpu()
        counts = self._processes.sum(measured.to(self._device)).cpu().sum(0)
        figures = {}
        for organ in range(1, self._space.class_count):
            if counts[organ]:
                figures[self._space.names[organ - 1]] = float(dice[:, organ].sum() / counts[organ])
        if figures:
            figures[MEAN] = sum(figures.values()) / len(figures)
        if self._processes.size > 1:
            overlaps = []
        return Measurement(figures, overlaps)

    def _measure_case(self, number: int, network: nn.Module, division: Division | None) -> CaseOverlaps:
        """How what is predicted of a case overlaps with what its annotation is sure of."""
        cached = self._cases[number]
        codes = cached.codes()
        slices = slices_to_predict(codes, self._background_codes)
        logits = predicted_logits(network, cached.image()[slices], self._preprocessing, self._space.class_count,
                                  self._device, self._scales, self._precision)
        if self._members is None or division is None:
            predicted = best_classes(logits)
        else:
            predicted = self._members.combine(cached, slices, logits, division)
        # They are those of a whole CT, and the next case's are as large.
        del logits
        return CaseOverlaps(predicted, codes[slices], self._table)

    def _sure_organs(self, cached: CachedCase) -> list[int]:
        """All organs of a full label, the annotated ones of a partial one, what strokes show.

        An organ that the label only names among several (a coarse label) and nowhere for sure is not measured, and
        neither is one where no voxel is said to be another class: more of it would always be better.
        """
        present = self._table[np.unique(cached.codes())]
        return sorted(organ for organ in self._annotated_organs(cached, present) if not present[:, organ].all())

    def _annotated_organs(self, cached: CachedCase, present: npt.NDArray[np.bool_]) -> set[int]:
        """The organs that the annotation is sure about; `present` (K, C) are its candidate sets."""
        case, shown = cached.case, set(cached.positions) - {0}
        if case.kind is Kind.SCRIBBLE or case.kind is Kind.UNLABELLED:
            return shown
        if case.kind is Kind.FULL:
            annotated = set(range(1, self._space.class_count))
        else:
            annotated = set(self._space.indices(case.annotated))
        # Candidate sets of more than one class: there the label does not say which of them a voxel is.
        coarse = present[present.sum(1) > 1]
        ambiguous = {organ for organ in annotated if coarse[:, organ].any()}
        return shown | (annotated - ambiguous)


def slices_to_predict(codes: npt.NDArray[np.uint8], background_codes: Collection[int]) -> slice:
    """The axial slices of `codes` (z, y, x) that a network has to see for what is evaluated in them.

    A slice of which nothing is known but the air round the body (`background_codes`) is not evaluated: of a left-out
    slab's CT that is most.
    """
    evaluated = []
    for z, plane in enumerate(codes):
        plane_codes = set(np.unique(plane).tolist())
        # Without an unknown voxel the slice is annotated as background throughout, which counts.
        if UNKNOWN not in plane_codes or plane_codes - {UNKNOWN} - set(background_codes):
            evaluated.append(z)
    if not evaluated:
        return slice(0, len(codes))
    return slice(max(0, evaluated[0] - CONTEXT_SLICES), min(len(codes), evaluated[-1] + 1 + CONTEXT_SLICES))
