"""Exports organs of a segmentation: writes them to a scratch folder in pieces, names the command to run. No widgets."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import slicer
import vtk
from slicer.i18n import tr as _

from ..scene.ct_file import write_ct_steps
from ..scene.ct_tag import refuse_another_ct
from ..scene.dicom_files import gather, series_files
from ..scene.label_file import grid_of, write_labels
from ..scene.organ_rows import ABSENT, ACCEPTED, OrganRow, algorithm_type, one_of_each, rows
from ..scene.voxel_counts import labelmap
from ..shell.job import Progress
from ..shell.parameters import ExportFormat
from ..shell.scratch import remove_folder
from ..shell.steps import counted

ENDINGS = {ExportFormat.RTSTRUCT: (".rtstruct.dcm",), ExportFormat.SEG: (".seg.dcm",),
           ExportFormat.NIFTI: (".labels.nii.gz", ".labels.csv")}  # of the command's files
RESAMPLE = "--resample"  # the command's option that takes organs on other voxels to the slices of the series
COMPARE = "--of"  # its option that looks for the CT's voxels in the series
LONGEST_MAKER = 64  # letters of a name in DICOM


def exported_rows(segmentation: slicer.vtkMRMLSegmentationNode, all_organs: bool) -> list[OrganRow]:
    """The organs to export: the accepted ones, or `all_organs` that are not marked as absent."""
    segments = segmentation.GetSegmentation()
    return [row for row in rows(segmentation) if (row.state == ACCEPTED or (all_organs and row.state != ABSENT))
            and labelmap(segments.GetSegment(row.segment_id)) is not None]


@dataclass
class ExportRun:
    """One export into `target`. `name` is what the files are called; `reference`: a folder of the CT's DICOM series
    that the user chose, None for the files that Slicer knows. `lost`: voxels that organs have lost to later ones which
    overlap with them. Make it with `begin`; `clean_up` at the end."""

    folder: Path
    segmentation: slicer.vtkMRMLSegmentationNode
    volume: slicer.vtkMRMLScalarVolumeNode
    organs: Sequence[OrganRow]
    format: ExportFormat
    target: Path
    name: str
    overwrite: bool
    reference: Path | None = None
    arguments: list[str] = field(default_factory=list)
    lost: dict[str, int] = field(default_factory=dict)

    @classmethod
    def begin(cls, segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode,
              organs: Sequence[OrganRow], kind: ExportFormat, target: Path, name: str, overwrite: bool,
              reference: Path | None = None) -> ExportRun:
        """Makes the scratch folder. Raises OSError, and UserError for a segmentation of another CT or with two segments
        of an organ."""
        refuse_another_ct(segmentation, volume)
        organs = one_of_each(segmentation, organs)
        folder = Path(tempfile.mkdtemp(prefix="partialorganseg-", dir=slicer.app.temporaryPath))
        return cls(folder, segmentation, volume, organs, kind, target, name, overwrite, reference)

    def prepare(self) -> Generator[Progress, None, list[str]]:
        """Writes the organs and what names the series; gives the arguments of the command. Raises OSError and
        UserError."""
        # plain letters: SimpleITK on Windows opens no file with others
        space, labels = self.folder / "organs.yaml", self.folder / "labels.nrrd"
        names = [row.organ for row in self.organs]
        space.write_text(json.dumps(names), encoding="utf-8")  # JSON is YAML
        self.arguments = ["export", str(labels), "-o", str(self.target), "--name", self.name, "--names", "tg263",
                          "--label-space", str(space), "--how", self._how(), "--made-by", self._maker()]
        if self.overwrite:
            self.arguments.append("--overwrite")
        yield from self._write_labels(labels)
        if self.format is ExportFormat.NIFTI:
            self.arguments.append("--nifti")
        else:
            self.arguments += ["--dicom", self.format.value]
            yield from self._write_reference()
        return self.arguments

    def _write_labels(self, path: Path) -> Generator[Progress, None, None]:
        """NIfTI shows the organs where the scene does. DICOM has the patient's coordinates, where the slices are
        whatever transform the CT is under in the scene; a transform that bends makes up for uneven slices."""
        values = {row.segment_id: number for number, row in enumerate(self.organs, 1)}
        progress = Progress(_("writing the organs"), 0, 3, None)
        own = vtk.vtkMatrix4x4()
        self.volume.GetIJKToRASMatrix(own)
        if self.format is not ExportFormat.NIFTI and self._is_straight:
            lost = yield from counted(write_labels(self.segmentation, values, self.volume, own, path), progress)
            self.lost = {self.organs[number - 1].organ: voxels for number, voxels in lost.items()}
            return
        if self.format is not ExportFormat.NIFTI:
            self.arguments.append(RESAMPLE)
        # a transform may also come from a registration, and its organs would lie where no voxel of the series does
        path_of_ct = self.folder / "ct.nrrd"
        ct = yield from counted(write_ct_steps(self.volume, path_of_ct), progress)
        if self.format is not ExportFormat.NIFTI:
            self.arguments += [COMPARE, str(path_of_ct)]
        with grid_of(self.volume, ct) as reference:
            work = write_labels(self.segmentation, values, reference, ct.ijk_to_file, path)
            lost = yield from counted(work, progress)
        self.lost = {self.organs[number - 1].organ: voxels for number, voxels in lost.items()}

    def _write_reference(self) -> Generator[Progress, None, None]:
        progress = Progress(_("finding the DICOM series"), 1, 3, None)
        if self.reference is None:
            folder = self.folder / "series"
            yield from counted(gather(series_files(self.volume), folder), progress)
            self.arguments += ["--reference", str(folder)]
            return
        self.arguments += ["--reference", str(self.reference)]
        if COMPARE not in self.arguments:  # a folder that somebody chose may hold another patient
            yield from self.compare()

    def compare(self) -> Generator[Progress, None, list[str]]:
        """Writes the CT as well, so that the command looks for its voxels in the series; gives the arguments with it.
        Raises OSError."""
        ct = self.folder / "ct.nrrd"
        yield from counted(write_ct_steps(self.volume, ct, as_displayed=False),
                           Progress(_("writing the CT"), 2, 3, None))
        self.arguments += [COMPARE, str(ct)]
        return self.arguments

    @property
    def _is_straight(self) -> bool:
        transform = self.volume.GetParentTransformNode()
        return transform is None or bool(transform.IsTransformToWorldLinear())

    def _how(self) -> str:
        """How the organs came about, in the command's words."""
        segments = self.segmentation.GetSegmentation()
        kinds = {algorithm_type(segments.GetSegment(row.segment_id)) for row in self.organs}
        if kinds == {"AUTOMATIC"}:
            return "automatic"
        return "corrected"

    def _maker(self) -> str:
        models = dict.fromkeys(row.model for row in self.organs if row.model)
        return " ".join(["PartialOrganSeg", *models])[:LONGEST_MAKER].strip()

    def with_names(self, message: str) -> str:
        """A message of the command with names in place of the scratch files' paths."""
        ct = self.volume.GetName()
        names = {self.folder / "labels.nrrd": self.segmentation.GetName(), self.folder / "series": ct,
                 self.folder / "ct.nrrd": ct}
        for path, name in names.items():
            message = message.replace(str(path), name)
        return message.replace("ct.nrrd", ct)  # which the command also names without its folder

    def clean_up(self) -> None:
        """Removes the scratch folder."""
        remove_folder(self.folder)
