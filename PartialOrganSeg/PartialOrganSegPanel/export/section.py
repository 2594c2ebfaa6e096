"""Section Export: choose a format, press the button."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from PartialOrganSegLib.errors import Code, UserError

from ..scene.ct_identity import ct_file_name
from ..scene.ct_tag import link_to_ct, why_no_ct
from ..scene.dicom_files import series_files
from ..scene.organ_rows import rows
from ..scene.overlap_text import overlap_text
from ..shell.job import Job, Outcome
from ..shell.parameters import ExportFormat, ExportOrgans
from ..shell.progress import ProgressStrip
from ..shell.saving import name_to_save
from ..shell.section import Section, offer
from ..shell.steps import Steps, Work
from .run import COMPARE, ENDINGS, RESAMPLE, ExportRun, exported_rows


class ExportSection(Section):
    """The button *Export* turns into *Cancel* while it works. Goes on beside the panel's one run: teaching a model
    takes long, and a plan that waits for contours must not."""

    NAME = "Export"

    def setup(self) -> None:
        self._run: ExportRun | None = None
        self._work: Steps | Job | None = None
        self._files: dict[str, str] = {}
        self.strip = ProgressStrip(self.ui.exportProgress, self.panel.services.dialogs)
        self.ui.exportButton.connect("clicked()", self._export_or_cancel)

    def bound(self) -> None:
        if self._work is None:
            self.strip.clear()

    def refresh(self) -> None:
        working = self._work is not None
        for name in ("formatBox", "exportOrgansBox"):
            getattr(self.ui, name).enabled = not working
        if working:
            self.ui.exportButton.text = _("Cancel")
            offer(self.ui.exportButton, "", _("Ends the export; no half a file stays"))
            return
        self.ui.exportButton.text = _("Export ...")
        offer(self.ui.exportButton, self._why_not(),
              _("Writes the organs into a folder, named as radiotherapy names them (TG-263)"))

    def closing(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            work.kill()
        self._clean_up()

    # --- what is at hand

    @property
    def _all(self) -> bool:
        return self.panel.parameters.export.organs is ExportOrgans.ALL

    def _why_not(self) -> str:
        """Why nothing can be exported now; empty when something can."""
        node = self.panel.parameters.segmentation
        if self.panel.missing:
            return _("Python packages are missing: install them above.")
        if node is None:
            return _("There is no segmentation yet.")
        if not rows(node):
            return _("{name} was not made by PartialOrganSeg: its segments are not marked as organs.").format(
                name=node.GetName())
        why = why_no_ct(node)
        if why:
            return why
        if exported_rows(node, self._all):
            return ""
        if self._all:
            return _("No organ has a voxel.")
        return _("Accept an organ first, or export all organs.")

    # --- the work

    def _export_or_cancel(self) -> None:
        if self._work is not None:
            self.strip.say(_("Cancelling ..."))
            self._work.cancel()
            return
        node = self.panel.parameters.segmentation
        volume, kind = link_to_ct(node), self.panel.parameters.export.format
        dialogs = self.panel.services.dialogs
        target = dialogs.choose_folder(_("Folder for the export"))
        if target is None:
            return
        name = name_to_save(dialogs, Path(target), ct_file_name(volume), ENDINGS[kind])
        if name is None:
            return
        overwrite = any((Path(target) / (name + ending)).exists() for ending in ENDINGS[kind])
        go, reference = self._series(volume, kind)
        if not go:
            return
        try:
            self._run = run = ExportRun.begin(node, volume, exported_rows(node, self._all), kind, Path(target), name,
                                              overwrite, reference)
        except (OSError, UserError) as error:
            self.strip.say(str(error))
            return
        self._prepare(run.prepare())
        self.panel.refresh()

    def _prepare(self, work: Work) -> None:
        """Writes what the command needs, and launches it with the arguments that `work` gives."""
        self._work = steps = Steps(work, self.strip.progress, lambda outcome: self._prepared(steps.value, outcome))
        self.strip.started(_("Starting ..."))
        steps.start()

    def _series(self, volume: slicer.vtkMRMLScalarVolumeNode, kind: ExportFormat) -> tuple[bool, Path | None]:
        """Whether to go on, and the folder of the DICOM series where Slicer's database does not know its files."""
        if kind is ExportFormat.NIFTI or series_files(volume):
            return True, None
        question = _("DICOM names the patient and the study, which {ct} does not know: it was not loaded from Slicer's "
                     "DICOM database. Choose the folder of its DICOM slices; they are compared with the CT, and "
                     "refused if they are of another one.").format(ct=volume.GetName())
        choices = [("choose", _("Choose the folder"))]
        if self.panel.services.dialogs.ask(_("Export"), question, choices) != "choose":
            return False, None
        folder = self.panel.services.dialogs.choose_folder(_("Folder of the DICOM slices"))
        return folder is not None, folder

    def _prepared(self, arguments: list[str] | None, outcome: Outcome) -> None:
        if arguments is None:
            self._ended(outcome)
            return
        self._launch(arguments)

    def _launch(self, arguments: list[str]) -> None:
        self._files = {}
        self._work = job = Job(self.panel.services.new_process(), self.strip.progress, self._written, self._ended)
        self.strip.started(_("Exporting ..."))
        job.start(arguments)

    def _wants_slices(self, run: ExportRun, outcome: Outcome) -> bool:
        """Whether the CT is a part of its series, or resampled from it, and the user wants the organs on the series'
        slices."""
        if not _other_voxels(outcome) or RESAMPLE in run.arguments:
            return False
        question = _("The voxels of {ct} are not those of its DICOM series: it was cropped or resampled in Slicer. "
                     "Write the organs on the slices of the series? There each pixel gets the organ of the nearest "
                     "voxel.")
        choices = [("slices", _("Write on the series' slices"))]
        return self.panel.services.dialogs.ask(_("Export"), question.format(ct=run.volume.GetName()),
                                               choices) == "slices"

    def _written(self, event: dict[str, Any]) -> None:
        self._files = event.get("files", {})

    def _ended(self, outcome: Outcome) -> None:
        run, self._work = self._run, None
        if _other_voxels(outcome) and COMPARE not in run.arguments:
            # the CT was cropped, or was moved: its organs must not go where other tissue lies in the patient
            self._prepare(run.compare())
            return
        if self._wants_slices(run, outcome):
            run.arguments.append(RESAMPLE)
            self._launch(run.arguments)
            return
        text = run.with_names(outcome.message)
        if outcome.state == "done":
            names = ", ".join(Path(path).name for path in self._files.values())
            lines = [_("Organs written to {folder}: {count}, in {names}").format(
                count=len(run.organs), folder=run.target, names=names)]
            lines += filter(None, [overlap_text(run.lost)])
            text = "\n".join([*lines, *map(run.with_names, outcome.warnings)])
        self.strip.ended(outcome, text)
        self._clean_up()
        self.panel.refresh()

    def _clean_up(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            run.clean_up()


def _other_voxels(outcome: Outcome) -> bool:
    """Whether the command refused a CT whose voxels do not lie where those of its series do."""
    return outcome.problem is not None and outcome.problem.code is Code.GEOMETRY_DIFFERS
