"""What the start model finds in the cases before anything is learnt of them, and how much of it is right."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ..annotation import Kind
from ..errors import Code, Problem, UserError
from ..evaluation.metrics import candidate_dice, joint_counts
from ..events import Reporter
from ..formats.reading import read_ct, read_labelmap
from ..imaging.components import voxel_counts
from ..imaging.volume import Volume
from ..models.bundle import Bundle
from ..organs import LabelSpace
from ..segmenting.predictor import Predictor
from ..training.memory import is_out_of_memory
from .cases import TakenCase
from .data_warning import DataWarning, DataWarningKind

TOLD_ML = 10.0  # of an organ, that the start model finds where the label says there is none
ENOUGH_CASES = 4  # that are looked at to say how well the start model knows what they show


class StartView:
    """The start model's segmentations of cases, in the run's label space.

    `known` are the run's labels that the start model has, the background among them; others it never finds.
    """

    def __init__(self, start: Bundle, space: LabelSpace, device: torch.device) -> None:
        self.space = space
        own = {organ.index: start.label_space.index(organ.name) for organ in space.organs
               if organ.name in start.label_space.names}
        self.known = [0, *own]
        self._label_of = np.zeros(start.label_space.class_count, np.uint8)
        self._label_of[list(own.values())] = list(own)
        self._start, self._device = start, device
        self._predictor: Predictor | None = None  # only made where a case is looked at

    def labels(self, case: TakenCase) -> np.ndarray:
        """(z, y, x) uint8 on the CT's own grid, an organ that the run lacks as background."""
        return self._found(case).array

    def _found(self, case: TakenCase) -> Volume:
        self._predictor = self._predictor or Predictor(self._start, device=str(self._device))
        found = self._predictor.predict(read_ct(case.image, force=True)).labels
        return Volume(self._label_of[found.array], found.grid)

    def dice(self, cases: Sequence[TakenCase], seconds: float, reporter: Reporter,
             whole: Mapping[str, TakenCase] | None = None) -> float | None:
        """Mean Dice of the organs that the masks of cases show and the start model has, where the annotation is sure.

        Of the first `ENOUGH_CASES` that show one and are learnt from, or fewer once that took `seconds`; None where
        none does. Strokes are left out: they lie in the middle of organs, and often there is none of the background.
        A CT that does not fit into memory is told and ends it. Told too: organs that the masks deny and the start
        model finds all the same; by name, the `whole` cases that these are parts of.
        """
        values: dict[int, list[float]] = {}
        showing = [case for case in cases if case.weight > 0 and case.kind is not Kind.SCRIBBLE
                   and set(case.organs) & set(self.known)][:ENOUGH_CASES]
        clock = time.monotonic()
        for done, case in enumerate(showing):
            try:
                found = self._found(case)
            except (UserError, RuntimeError, MemoryError) as error:
                if not isinstance(error, UserError) and not is_out_of_memory(error):
                    raise
                reporter.warning(Problem(Code.CASE_SKIPPED, case.name,
                                         found=f"the start model could not be looked at: {error}"))
                break
            codes, table = read_labelmap(case.codes).array, self._table(case)
            self._tell_denied((whole or {}).get(case.name, case), found, reporter)
            counts = joint_counts(found.array, codes, table.shape)
            for organ in sorted(set(case.organs) & set(self.known)):
                value, _ = candidate_dice(counts, table, [organ])
                if value is not None:
                    values.setdefault(organ, []).append(value)
            reporter.progress("looking at what the start model knows", done + 1, len(showing))
            if time.monotonic() - clock > seconds:
                break
        return float(np.mean([np.mean(each) for each in values.values()])) if values else None

    def _tell_denied(self, case: TakenCase, found: Volume, reporter: Reporter) -> None:
        """An organ that was only not drawn would be unlearnt."""
        volumes = voxel_counts(found.array, self.space.class_count) * found.grid.voxel_ml
        denied = [label for label in self.known
                  if label and volumes[label] >= TOLD_ML and case.absent(label) == sum(case.counts)]
        if denied:
            names = tuple(self.space.names[label - 1] for label in denied)
            warning = DataWarning(DataWarningKind.START_MODEL_FINDS, case.name, names,
                                  tuple(float(volumes[label]) for label in denied), full=case.kind is Kind.FULL)
            reporter.warning(warning.problem())

    def _table(self, case: TakenCase) -> np.ndarray:
        """(K, C) bool: the classes that each of the case's codes allows."""
        return np.array([[label in classes for label in range(self.space.class_count)] for classes in case.sets])
