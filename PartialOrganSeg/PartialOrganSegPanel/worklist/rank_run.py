"""Asks the command `rank` where the model is least sure, of many CTs at once: what it is given, what it says."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..scene.dicom_files import gather
from ..shell.job import Progress
from ..shell.scratch import remove_folder
from ..shell.steps import counted
from ..shell.work_list import ListedCase
from .dicom_series import SOURCE, files_of


@dataclass(frozen=True)
class Unsure:
    """Where the model is least sure in a CT: mean entropy of the organ's voxels (nats), and the axial slice where a
    stroke is worth most, by its place in the patient (mm; None where that is not known)."""

    worth: float
    worth_organ: str
    worth_z_mm: float | None = None


def unsurest(entropies: Iterable[tuple[str, float | None]]) -> Unsure | None:
    """Of organs with their entropies the one that the model is least sure of; None where no entropy is known."""
    measured = [(entropy, organ) for organ, entropy in entropies if entropy is not None]
    if not measured:
        return None
    entropy, organ = max(measured)
    return Unsure(entropy, organ)


@dataclass
class RankRun:
    """Of `cases`, which the command knows by their numbers here. `clean_up` at the end."""

    folder: Path
    cases: Sequence[ListedCase]

    @classmethod
    def begin(cls, cases: Sequence[ListedCase]) -> RankRun:
        """Makes the scratch folder. Raises OSError."""
        return cls(Path(tempfile.mkdtemp(prefix="partialorganseg-", dir=slicer.app.temporaryPath)), cases)

    def prepare(self, model: str, device: str) -> Generator[Progress, None, list[str]]:
        """Writes the list of the CTs, a step a DICOM file; gives the command's arguments. Raises OSError."""
        table = self.folder / "cases.csv"
        with open(table, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("image", "output"))
            for number, case in enumerate(self.cases):
                path = case.source
                if case.source.startswith(SOURCE):
                    # the series' own folder may hold other series
                    path = str(self.folder / f"series_{number}")
                    yield from counted(gather(files_of(case.source), Path(path)),
                                       Progress(_("finding the CTs"), number, len(self.cases), None))
                writer.writerow((path, str(number)))
        yield Progress(_("finding the CTs"), len(self.cases), len(self.cases), None)
        return ["rank", str(table), "-o", str(self.folder / "rank.csv"), "--model", model, "--device", device]

    def read(self, event: Mapping[str, Any]) -> dict[str, Unsure]:
        """By the cases' sources, from the command's result: of each CT the organ that the model is least sure of."""
        unsure: dict[str, Unsure] = {}
        for row in event.get("rows", ()):
            if not str(row["ct"]).isdigit() or int(row["ct"]) >= len(self.cases):
                continue
            source = self.cases[int(row["ct"])].source
            if source not in unsure or float(row["worth"]) > unsure[source].worth:
                unsure[source] = Unsure(float(row["worth"]), str(row["organ"]), float(row["z_mm"]))
        return unsure

    def with_names(self, message: str) -> str:
        """A message of the command with the cases' names in place of scratch folders."""
        for number, case in enumerate(self.cases):
            message = message.replace(str(self.folder / f"series_{number}"), case.name)
        return message

    def clean_up(self) -> None:
        """Removes the scratch folder."""
        remove_folder(self.folder)
