"""Segments a CT of the scene: writes it to a scratch folder, runs the command, brings the result back. No widgets."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from PartialOrganSegLib.organs import Organ

from ..shell.job import Outcome
from ..shell.scratch import remove_folder
from .ct_file import CtFile, write_ct_steps
from .organ_versions import Versions, changed_since, organ_versions
from .segmentation_result import ResultError, put_result, read_result, spare
from .voxel_counts import SMALL, finished


@dataclass
class SegmentRun:
    """One run for one CT. Nodes are held by ID, since users delete and rename them while it works.

    `model` and `organs` are the model's; `chosen` names some of these, empty for all. `target_id`: the segmentation
    whose organs are replaced, None for a new one. Make it with `prepare`, give `arguments` to the command and events to
    `on_result`; then `finish`. `changed_organs` are then those that the user has changed in the target since `prepare`,
    when they were `target_before`: they are not replaced. `held`: voxels that these and accepted organs have kept from
    the new ones. `left`: name of a target that was left alone.
    """

    volume_id: str
    folder: Path
    ct: CtFile
    model: str
    organs: tuple[Organ, ...]
    arguments: list[str]
    target_id: str | None = None
    target_before: Versions = field(default_factory=dict)
    changed_organs: list[str] = field(default_factory=list)
    held: dict[str, int] = field(default_factory=dict)
    left: str = ""
    result: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def prepare(cls, volume: slicer.vtkMRMLScalarVolumeNode, model: str, device: str, organs: tuple[Organ, ...],
                chosen: Sequence[str] = (), target: slicer.vtkMRMLSegmentationNode | None = None,
                server: Sequence[str] = ()) -> SegmentRun:
        """Writes the CT. Raises OSError when that fails; the scene is left as it is."""
        return finished(cls.prepare_steps(volume, model, device, organs, chosen, target, server))

    @classmethod
    def prepare_steps(cls, volume: slicer.vtkMRMLScalarVolumeNode, model: str, device: str, organs: tuple[Organ, ...],
                      chosen: Sequence[str] = (), target: slicer.vtkMRMLSegmentationNode | None = None,
                      server: Sequence[str] = (), fast: bool = False) -> Generator[None, None, SegmentRun]:
        """As `prepare`, in pieces of some milliseconds. `server`: options that name another computer. `fast`: on this
        computer, see the CT on a coarser grid."""
        folder = Path(tempfile.mkdtemp(prefix="partialorganseg-", dir=slicer.app.temporaryPath))
        try:
            ct = yield from write_ct_steps(volume, folder / "ct.nrrd")
            before = {}
            if target is not None:
                before = yield from organ_versions(target)
        except (OSError, GeneratorExit):
            remove_folder(folder)
            raise
        # no preview image: the panel shows the result itself
        arguments = ["segment", str(ct.path), "-o", str(folder / "result"), "--no-preview"]
        if server:  # which has a model and a device of its own
            arguments += server
        else:
            arguments += ["--model", model, "--device", device]
            if fast:
                arguments.append("--fast")
        if chosen:
            arguments += ["--organs", ",".join(chosen)]
        run = cls(volume.GetID(), folder, ct, model, organs, arguments)
        if target is not None:
            run.target_id, run.target_before = target.GetID(), before
        return run

    @property
    def is_small(self) -> bool:
        """Whether the result can be read within one step of the window."""
        return self.ct.size[0] * self.ct.size[1] * self.ct.size[2] <= SMALL

    def on_result(self, event: dict[str, Any]) -> None:
        """Takes the event that lists the files; of several the last one counts."""
        if "files" in event:
            self.result = event

    def finish(self, about_to_replace: Callable[[slicer.vtkMRMLSegmentationNode], None] = lambda target: None,
               ) -> Generator[None, None, slicer.vtkMRMLSegmentationNode]:
        """Brings the result into the scene, in pieces of milliseconds; the last one is the one that changes it.
        `about_to_replace(target)` is called before organs of the target are replaced. Raises ResultError, with the
        scene as it was."""
        volume = slicer.mrmlScene.GetNodeByID(self.volume_id)
        if volume is None:
            raise ResultError(_("The CT was deleted; its result was dropped."))
        if not self.result:
            raise ResultError(_("The run gave no result."))
        # a target that was deleted meanwhile is no loss: the result gets a new segmentation
        target = None
        if self.target_id:
            target = slicer.mrmlScene.GetNodeByID(self.target_id)
        path = Path(self.result["files"]["segmentation"])
        reports = {report["organ"]: report | {"model": self.model} for report in self.result["organs"]}
        ct = self.ct_now(volume)
        staged = yield from read_result(path, volume, ct, self.organs, reports)
        if slicer.mrmlScene.GetNodeByID(self.volume_id) is not volume:
            raise ResultError(_("The CT was deleted; its result was dropped."))
        if target is not None:
            changed = yield from changed_since(target, self.target_before)
            self.changed_organs = [organ for organ in changed if organ in reports]
            target = self._possible(slicer.mrmlScene.GetNodeByID(self.target_id), volume)
        if target is not None:
            about_to_replace(target)
            self.held = spare(staged, target, self.changed_organs)
        return put_result(staged, volume, ct, reports, target)

    def ct_now(self, volume: slicer.vtkMRMLScalarVolumeNode) -> CtFile:
        """The CT with its voxels where they are by now: a transform may have been hardened while the run worked."""
        if not self.ct.follows_volume:
            return self.ct
        ijk_to_ras = vtk.vtkMatrix4x4()
        volume.GetIJKToRASMatrix(ijk_to_ras)
        return replace(self.ct, ijk_to_ras=ijk_to_ras)

    def _possible(self, target: slicer.vtkMRMLSegmentationNode | None,
                  volume: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLSegmentationNode | None:
        """The target, None where it is under another transform than the result: there its organs would lie beside
        those of the CT."""
        transform_id = None  # of a result in world coordinates
        if self.ct.follows_volume:
            transform_id = volume.GetTransformNodeID()
        if target is None or target.GetTransformNodeID() == transform_id:
            return target
        self.left, self.changed_organs = target.GetName(), []
        return None

    def summary(self, outcome: Outcome) -> str:
        """What a user reads after a good run."""
        with_voxels = [report["organ"] for report in self.result["organs"] if report["volume_ml"]]
        lines = [_("{count} of {all} organs found by {model} in {seconds:.0f} s.").format(
            count=len(with_voxels), all=len(self.result["organs"]), model=self.model, seconds=self.result["seconds"])]
        if self.left:
            lines.append(_("{name} is not under the CT's transform and stays as it was: the result is a segmentation "
                           "of its own.").format(name=self.left))
        if self.changed_organs:
            lines.append(_("Kept as you changed them meanwhile: {organs}.").format(
                organs=", ".join(organ.replace("_", " ") for organ in self.changed_organs)))
        if self.held:
            held = ", ".join(f"{organ.replace('_', ' ')} {voxels}" for organ, voxels in self.held.items())
            text = _("Voxels that new organs would have taken from organs that stay as they are: {organs}.")
            lines.append(text.format(organs=held))
        return "\n".join([*lines, *filter(None, [self.ct.note]), *map(self.with_ct_name, outcome.warnings)])

    def with_ct_name(self, message: str) -> str:
        """A message of the command with the CT's name in place of the scratch file's path."""
        volume, name = slicer.mrmlScene.GetNodeByID(self.volume_id), self.ct.path.name
        if volume is not None:
            name = volume.GetName()
        return message.replace(str(self.ct.path), name)

    def clean_up(self) -> None:
        """Removes the scratch folder."""
        remove_folder(self.folder)
