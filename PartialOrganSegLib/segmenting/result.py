"""What became of one CT: labels, volumes, checks, and the files and the picture that are made of them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Code, UserError
from ..events import Reporter
from ..formats.dicom_export import DicomNotWrittenError
from ..imaging.volume import Volume
from ..outputs import all_at_once, refuse_existing, writable_folder
from .options import SegmentOptions
from .organ_checks import OrganReport, check_organs
from .result_files import earlier_of_other_kinds, remove_earlier, result_name, single_kind, target_files

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..formats.dicom_source import DicomSource
    from ..models.bundle import Bundle


@dataclass(frozen=True)
class CTSource:
    """Where a CT came from, for DICOM results: its `path` (None: not from a file) and which `series`."""

    path: Path | None = None
    series: str | None = None

    @property
    def name(self) -> str:
        """What its results are called."""
        return "ct" if self.path is None else result_name(self.path)

    def dicom(self, reporter: Reporter | None = None) -> DicomSource:
        """The series without its pixels. Raises UserError for what is no DICOM."""
        from ..formats.dicom_source import read_source

        if self.path is None:
            raise UserError(code=Code.SETTINGS_CONFLICT, subject="dicom", expected="a CT from a DICOM folder or file",
                            found="one without a file")
        return read_source(self.path, self.series, reporter or Reporter(), geometry_reported=True)


@dataclass(frozen=True, eq=False, repr=False)
class SegmentResult:
    """A segmented CT.

    `labels`: uint8 on the grid of `ct`; a value is an organ's index in `label_space`. `entropy`: mean nats over an
    organ's voxels, of the organs found. `seconds` of each stage, "read" among them. `precision` of the network's
    convolutions, such as "bfloat16". `ct`: in HU.
    """

    labels: Volume
    ct: Volume
    bundle: Bundle
    options: SegmentOptions
    entropy: Mapping[str, float]
    seconds: Mapping[str, float]
    precision: str
    source: CTSource = CTSource()
    dicom_source: DicomSource | None = None

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.labels.grid.size))
        present = sum(report.volume_ml > 0 for report in self.organs.values())
        return f"<SegmentResult of {self.bundle.name}: {present} of {len(self.organs)} organs, {size} voxels>"

    @property
    def array(self) -> np.ndarray:
        """The labels, (z, y, x) uint8."""
        return self.labels.array

    @functools.cached_property
    def organs(self) -> dict[str, OrganReport]:
        """Name to report, in label order, of the organs that were asked for: `volume_ml`, `checks` (see `OrganCheck`;
        empty when nothing is to be noticed), `components`, `entropy`. An absent organ has 0 ml."""
        space = self.bundle.label_space
        reports = {report.organ: report for report in check_organs(self.labels, space, self.entropy, self.ct)}
        chosen = self.options.organs_of(space)
        if chosen is None:
            return reports
        return {name: reports[name] for name in chosen}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The organs as rows of a table: a key a column, the checks as one text."""
        return [report.as_row() for report in self.organs.values()]

    @property
    def organ_events(self) -> list[dict[str, Any]]:
        """The organs as a JSON event has them: the rows, and the checks as data under `checks_data`."""
        return [report.as_event() for report in self.organs.values()]

    def save(self, target: Path | str, *, name: str | None = None, overwrite: bool | None = None,
             reporter: Reporter | None = None) -> dict[str, Path]:
        """Writes one file, or all files of the command `segment` into a folder, which is made; kind to file.

        A `target` that ends in .nii.gz, .nii, .nrrd or .mha becomes a label map, in .seg.nrrd a segmentation of 3D
        Slicer, in .dcm (or .labelmap-seg.dcm, .rtstruct.dcm) DICOM, for CTs that are DICOM; another is a folder. There
        the files are called `name` (default: as the CT's file) and appear together or not at all. What an earlier
        result has there of kinds that are not written now goes with it, as it shows another segmentation; a file that
        was changed since, or is somebody else's, stays, with a warning to `reporter`.

        Raises UserError for what cannot be written (for DICOM after everything else was), and for an earlier result
        unless `overwrite` (default: as in the options).
        """
        name = name or self.source.name
        files = target_files(target, name, self.options.preview, self.options.dicom, self.source.path)
        folder = next(iter(files.values())).parent
        writable_folder(folder)
        earlier = []
        if single_kind(target) is None:
            earlier = earlier_of_other_kinds(files, folder, name)
        if overwrite is None:
            overwrite = self.options.overwrite
        refuse_existing(list(files.values()), overwrite)
        not_written: DicomNotWrittenError | None = None
        # Nobody shall find one file of a CT without the others.
        with all_at_once(folder, name) as scratch:
            try:
                self.write({kind: scratch / path.name for kind, path in files.items()})
            except DicomNotWrittenError as error:
                # The labels took minutes; a header that DICOM does not allow must not cost them.
                not_written = DicomNotWrittenError(error.problem.with_text(str(scratch), str(folder)))
        remove_earlier(earlier, reporter)
        if not_written is not None:
            raise not_written
        return files

    def write(self, files: Mapping[str, Path]) -> None:
        """Writes each kind of result ("labelmap", "segmentation", "table", "preview", "seg", ...) to its file, whatever
        lies there. Raises UserError."""
        from ..formats.dicom_export import ENDINGS, check_writers, write_dicom
        from ..formats.dicom_source import Maker
        from ..formats.preview import write_preview
        from ..formats.writing import write_labelmap, write_segmentation, write_table

        space = self.bundle.label_space
        if "labelmap" in files:
            write_labelmap(files["labelmap"], self.labels)
        if "segmentation" in files:
            write_segmentation(files["segmentation"], self.labels, space)
        if "table" in files:
            write_table(files["table"], self.rows)
        if "preview" in files:
            write_preview(files["preview"], self.ct, self.labels, space)
        # Last, because the other files are whole whatever becomes of these.
        if any(kind in ENDINGS for kind in files):
            check_writers([kind for kind in files if kind in ENDINGS])
            organs = self.options.organs_of(space)
            write_dicom(files, self.labels, self.dicom_source or self.source.dicom(),
                        [organ for organ in space.organs if organs is None or organ.name in organs],
                        Maker(self.bundle.name, self.bundle.metadata.version),
                        absent_organs=self.options.absent_organs)

    def show(self, path: Path | str | None = None) -> Image:
        """A picture of three planes with the organs' outlines and volumes (PIL, RGB); with `path`, also its PNG."""
        from ..formats.preview import preview_picture, write_preview

        if path is not None:
            write_preview(path, self.ct, self.labels, self.bundle.label_space)
        return preview_picture(self.ct, self.labels, self.bundle.label_space)
