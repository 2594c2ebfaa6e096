"""What the start model segments in the cases before anything is learnt of them, and how much of it is right."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ..annotation import Kind
from ..errors import Code, Problem, UserError
from ..evaluation.metrics import candidate_dice, joint_counts
from ..events import Reporter
from ..formats.reading import read_labelmap
from ..imaging.components import voxel_counts
from ..imaging.volume import Volume
from ..models.bundle import Bundle
from ..organs import LabelSpace
from ..training.memory import is_out_of_memory
from .cases import PreparedCase
from .data_warning import DataWarning, DataWarningKind
from .looking import START_KIND, StoredLabels
from .verdict import ALREADY_GOOD

# Of an organ, that the start model finds where the label says there is none.
REPORTED_ML = 10.0
# That are segmented to say how well the start model knows what they show.
ENOUGH_CASES = 4


class StartPredictions:
    """The start model's segmentations of cases, in the run's label space.

    `shared_labels` are the run's labels that the start model has, the background among them; it finds no others.
    """

    def __init__(self, start: Bundle, space: LabelSpace, device: torch.device, folder: Path | None = None) -> None:
        """`folder`: of the run, where they are kept; None: nowhere."""
        self.space = space
        names = start.label_space.names
        self.shared_labels = [0, *(organ.index for organ in space.organs if organ.name in names)]
        self._stored = StoredLabels(folder, start, space, START_KIND, device)
        # Of the CTs that were segmented, for the plan.
        self._seconds, self._voxels = 0.0, 0

    def labels(self, case: PreparedCase) -> npt.NDArray[np.uint8]:
        """(z, y, x) on the CT's own grid, an organ that the run lacks as background."""
        labels: npt.NDArray[np.uint8] = self._segment(case).array
        return labels

    def exist(self, case: PreparedCase) -> bool:
        """Whether the case was segmented, and its labels are kept."""
        return self._stored.exist(case.image_sha256)

    def _segment(self, case: PreparedCase) -> Volume:
        is_stored, clock = self.exist(case), time.monotonic()
        labels, _ = self._stored.labels(case.image, case.image_sha256)
        if not is_stored:
            self._seconds += time.monotonic() - clock
            self._voxels += math.prod(case.shape)
        return labels

    def expected_seconds(self, case: PreparedCase) -> float | None:
        """How long another look at a case takes, by its size and those that were segmented; None without any."""
        if not self._voxels:
            return None
        return self._seconds / self._voxels * math.prod(case.shape)

    def dice(self, cases: Sequence[PreparedCase], seconds: float, reporter: Reporter,
             undivided: Mapping[str, PreparedCase] | None = None) -> float | None:
        """Mean Dice of the organs that the masks of cases show and the start model has, where the annotation is sure.

        Of the first `ENOUGH_CASES` that show one and are learnt from, or fewer once that took `seconds`; None where
        none does. Strokes are left out: they lie in the middle of organs, and often there is none of the background.
        A CT that does not fit into memory is reported and ends it. Reported too: organs that the masks deny and the
        start model finds all the same; by name, the `undivided` cases that these are parts of.
        """
        values: dict[int, list[float]] = {}
        showing = [case for case in cases if self._shows_shared_organ(case)][:ENOUGH_CASES]
        clock = time.monotonic()
        for number, case in enumerate(showing):
            try:
                labels = self._segment(case)
            except (UserError, RuntimeError, MemoryError) as error:
                if not isinstance(error, UserError) and not is_out_of_memory(error):
                    raise
                reporter.warning(Problem(Code.CASE_SKIPPED, case.name,
                                         found=f"the start model could not be looked at: {error}"))
                break
            self._report_denied((undivided or {}).get(case.name, case), labels, reporter)
            for organ, value in self._dice_of(case, labels).items():
                values.setdefault(organ, []).append(value)
            reporter.progress("looking at what the start model knows", number + 1, len(showing))
            if time.monotonic() - clock > seconds:
                break
        if not values:
            return None
        self._report_known(values, reporter)
        return float(np.mean([np.mean(of_organ) for of_organ in values.values()]))

    def _shows_shared_organ(self, case: PreparedCase) -> bool:
        return case.weight > 0 and case.kind is not Kind.SCRIBBLE and bool(set(case.organs) & set(self.shared_labels))

    def _dice_of(self, case: PreparedCase, labels: Volume) -> dict[int, float]:
        """Dice of each organ that the case shows and the start model has."""
        table = case.candidate_table(self.space.class_count)
        counts = joint_counts(labels.array, read_labelmap(case.candidate_map).array, table.shape)
        dice = {}
        for organ in sorted(set(case.organs) & set(self.shared_labels)):
            value, _ = candidate_dice(counts, table, [organ])
            if value is not None:
                dice[organ] = value
        return dice

    def _report_known(self, values: Mapping[int, Sequence[float]], reporter: Reporter) -> None:
        """Warns where the start model finds what is to be learnt as it is drawn."""
        well_known = []
        for organ, of_organ in sorted(values.items()):
            if np.mean(of_organ) >= ALREADY_GOOD:
                well_known.append(f"{np.mean(of_organ):.2f} of {self.space.names[organ - 1]}")
        if well_known:
            reporter.warning(Problem(Code.LITTLE_TO_LEARN, found=f"the start model already has {', '.join(well_known)}",
                                     hint="there is little to learn"))

    def _report_denied(self, case: PreparedCase, labels: Volume, reporter: Reporter) -> None:
        """Warns of organs that the label denies: one that was only not drawn would be unlearnt."""
        volumes = voxel_counts(labels.array, self.space.class_count) * labels.grid.voxel_ml
        denied = [label for label in self.shared_labels
                  if label and volumes[label] >= REPORTED_ML and case.denies(label)]
        if denied:
            names = tuple(self.space.names[label - 1] for label in denied)
            warning = DataWarning(DataWarningKind.START_MODEL_FINDS, case.name, names,
                                  tuple(float(volumes[label]) for label in denied), full=case.kind is Kind.FULL)
            reporter.warning(warning.problem())
