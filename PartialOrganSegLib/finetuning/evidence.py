"""What is known of a change: of each organ the Dice before and after on real cases, pair by pair, with its noise.

Phantoms are no evidence: a model that finds more of every phantom may find less of every patient.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ValidationError

from ..errors import Code, UserError
from ..json_file import read_json
from ..training.overlaps import Overlap
from .noise import Interval, overlap_dice, paired_interval, slab_differences, typical_spread

# With fewer patients an organ's slabs are compared, which say how sure the figures of these patients are; how much the
# next one differs is then taken from experience.
ENOUGH_PATIENTS = 3
PATIENTS, SLABS = "patients", "slabs"


@dataclass(frozen=True)
class PairedCase:
    """An organ's overlaps in one case of a `patient`, of both models: of each slab the voxels in both masks, and the
    sum of the masks' voxels."""

    patient: str
    before: Sequence[tuple[int, int]]
    after: Sequence[tuple[int, int]]

    @property
    def difference(self) -> float:
        """Of the case's Dice."""
        return overlap_dice(self.after) - overlap_dice(self.before)


@dataclass(frozen=True)
class OrganEvidence:
    """An organ's change. `differences`: of each patient or slab, `units` says which ("patients", "slabs"), by a name
    that is the same for all organs."""

    organ: str
    before: float
    after: float
    units: str
    differences: Mapping[str, float]
    spread: float
    patients: int

    @property
    def interval(self) -> Interval:
        """The mean change with its noise."""
        patients = self.patients if self.units == SLABS else None
        return paired_interval(list(self.differences.values()), self.spread, patients)


def organ_evidence(organ: str, cases: Sequence[PairedCase]) -> OrganEvidence:
    """The evidence of an organ's cases, of which there is at least one: by patients where there are enough of them."""
    before = float(np.mean([overlap_dice(case.before) for case in cases]))
    after = float(np.mean([overlap_dice(case.after) for case in cases]))
    by_patient: dict[str, list[float]] = {}
    for case in cases:
        by_patient.setdefault(case.patient, []).append(case.difference)
    # That of the start model's Dice: the question is what chance makes of it where nothing has changed. By the Dice
    # after a loss the largest losses would count as the least sure.
    spread = typical_spread(before)
    if len(by_patient) >= ENOUGH_PATIENTS:
        means = {patient: float(np.mean(values)) for patient, values in by_patient.items()}
        return OrganEvidence(organ, before, after, PATIENTS, means, spread, len(by_patient))
    of_slabs = {}
    for number, case in enumerate(cases):
        for slab, value in enumerate(slab_differences(case.before, case.after)):
            of_slabs[f"{case.patient} {number} slab {slab}"] = value
    return OrganEvidence(organ, before, after, SLABS, of_slabs, spread, len(by_patient))


def joint_interval(evidence: Sequence[OrganEvidence]) -> Interval | None:
    """Of several organs' mean change: of each patient or slab the mean of its organs. None of no organs.

    What an organ's noise has in common with another's in the same patient so counts once.
    """
    if not evidence:
        return None
    of_unit: dict[str, list[float]] = {}
    for organ in evidence:
        for unit, difference in organ.differences.items():
            of_unit.setdefault(unit, []).append(difference)
    means = [float(np.mean(values)) for values in of_unit.values()]
    patients = None
    if any(organ.units == SLABS for organ in evidence):
        patients = min(organ.patients for organ in evidence)
    return paired_interval(means, float(np.mean([organ.spread for organ in evidence])), patients)


def gather_evidence(before: Iterable[Overlap], after: Iterable[Overlap],
                    patients: Mapping[str, str]) -> dict[str, OrganEvidence]:
    """The evidence of each organ that both measurements have in a real case. `patients`: image file to its patient;
    cases of other images, which are phantoms, are left out."""
    pairs: dict[str, list[PairedCase]] = {}
    earlier = {(overlap["case"], overlap["organ"]): overlap for overlap in before}
    for overlap in after:
        old = earlier.get((overlap["case"], overlap["organ"]))
        if old is None or overlap["image"] not in patients or len(old["slabs"]) != len(overlap["slabs"]):
            continue
        pairs.setdefault(overlap["organ"], []).append(
            PairedCase(patients[overlap["image"]], old["slabs"], overlap["slabs"]))
    return {organ: organ_evidence(organ, cases) for organ, cases in pairs.items()}


class _OverlapEntry(BaseModel):
    """An `Overlap` as JSON has it."""

    image: str
    case: str
    organ: str
    slabs: list[tuple[int, int]]

    def overlap(self) -> Overlap:
        """The same as the library has it."""
        return {"image": self.image, "case": self.case, "organ": self.organ, "slabs": self.slabs}


class _OverlapsFile(BaseModel):
    """What `training.overlaps.write_overlaps` writes."""

    before: list[_OverlapEntry]
    after: list[_OverlapEntry]


def read_overlaps(path: Path) -> tuple[list[Overlap], list[Overlap]]:
    """Before and after, of a run's file; empty where nothing was measured. Raises UserError for another file."""
    try:
        content = _OverlapsFile.model_validate(read_json(path, "overlaps of a run"))
        return [entry.overlap() for entry in content.before], [entry.overlap() for entry in content.after]
    except FileNotFoundError:
        return [], []
    except ValidationError as error:
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="overlaps of a run",
                        found=" ".join(str(error).split())[:200]) from None
