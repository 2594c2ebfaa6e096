"""What became of a corrected CT: labels, what changed of each organ, and the files that keep the labels of before."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..atomic import put_in_place
from ..errors import Code, UserError
from ..events import Reporter
from ..formats.reading import read_labelmap
from ..formats.writing import write_labelmap, write_table
from ..imaging.shapes import LabelMap
from ..imaging.volume import Volume
from ..outputs import all_at_once, refuse_existing, refuse_inputs, writable_folder
from ..segmenting.options import SegmentOptions
from ..segmenting.result import SegmentResult
from ..segmenting.result_files import (
    EARLIER_STROKES,
    OF_CORRECTIONS,
    earlier_of_other_kinds,
    remove_earlier,
    result_files,
    single_kind,
    target_files,
)
from .changes import OrganChange
from .session import Correction
from .stroke_names import NAMES_ENDING, STROKES_ENDING

# Beside the files of `segment`. A scribble map teaches a model: the manifest's kind "scribble". Its table says which
# organs its values are: models number them otherwise, and the table of volumes is one of labels that go on changing.
ENDINGS = {**OF_CORRECTIONS, "strokes": STROKES_ENDING, "stroke_names": NAMES_ENDING}
_COPIED_S = 10.0  # seconds that copying a folder without its times may put between two files


@dataclass(frozen=True, eq=False)
class RefineResult:
    """A corrected CT. `segmented`: labels, volumes and checks after the correction; `before`: the labels as they were;
    `strokes`: what was drawn, in corrections before as well, as a scribble map; `earlier_strokes`: those of before."""

    segmented: SegmentResult
    before: Volume
    strokes: Volume
    correction: Correction
    earlier_strokes: Volume | None = None

    @property
    def labels(self) -> Volume:
        """The corrected labels, on the CT's grid."""
        return self.segmented.labels

    @property
    def array(self) -> LabelMap:
        """The corrected labels, (z, y, x) uint8."""
        return self.segmented.labels.array

    @property
    def changes(self) -> tuple[OrganChange, ...]:
        """What each organ gained and lost; an organ that did not change is not among them."""
        return self.correction.organs

    def save(self, target: Path | str, *, name: str | None = None, overwrite: bool | None = None,
             reporter: Reporter | None = None) -> dict[str, Path]:
        """Writes one file, or into a folder the files of `segment` and four more: the labels of before, a table of
        what changed, and the strokes as a scribble map with a table of its values; kind to file. What else an earlier
        result has there, DICOM for one, shows what was corrected, and goes or is warned of. See `SegmentResult.save`.

        Raises UserError for what cannot be written, and for an earlier result unless `overwrite`.
        """
        name = name or self.segmented.source.name
        if single_kind(target) is not None:
            return self.segmented.save(target, name=name, overwrite=overwrite, reporter=reporter)
        options = self.segmented.options
        files = target_files(target, name, options.preview, options.dicom, self.segmented.source.path)
        own_files = _own_files(Path(target), name)
        if self.earlier_strokes is not None:
            own_files["old_strokes"] = Path(target) / (name + EARLIER_STROKES)
        folder = writable_folder(Path(target))
        allowed = options.overwrite if overwrite is None else overwrite
        refuse_existing([*files.values(), *own_files.values()], allowed)
        earlier = earlier_of_other_kinds(files | own_files, folder, name)
        with all_at_once(folder, name) as scratch:
            self.segmented.write({kind: scratch / path.name for kind, path in files.items()})
            self._write({kind: scratch / path.name for kind, path in own_files.items()})
        remove_earlier(earlier, reporter)
        if self.earlier_strokes is None:  # of a correction that is no longer there
            (folder / (name + EARLIER_STROKES)).unlink(missing_ok=True)
        return files | own_files

    def _write(self, files: Mapping[str, Path]) -> None:
        write_labelmap(files["before"], self.before)
        write_labelmap(files["strokes"], self.strokes)
        if self.earlier_strokes is not None:
            write_labelmap(files["old_strokes"], self.earlier_strokes)
        write_table(files["changes"], [change.as_row() for change in self.changes], OrganChange.columns())
        organs = self.segmented.bundle.label_space.organs
        write_table(files["stroke_names"], [{"value": organ.index, "organ": organ.name} for organ in organs])


def _own_files(folder: Path, name: str) -> dict[str, Path]:
    """What a correction writes beside the files of `segment`: kind to file."""
    return {kind: folder / (name + ending) for kind, ending in ENDINGS.items()}


def refuse_in_the_way(target: Path, name: str, options: SegmentOptions, ct: Path, strokes: Path) -> None:
    """Makes the folder of a correction called `name`, so that what is amiss with it shows before the work. Raises
    UserError for one that cannot be written, an earlier result unless the options allow it to be replaced, and results
    that would be written over the CT or the strokes, which may be all there is of what somebody drew."""
    refuse_kept_strokes(strokes, target, name)
    files = list(target_files(target, name, options.preview, options.dicom, ct).values())
    folder = files[0].parent
    if single_kind(target) is None:
        files += _own_files(target, name).values()
    refuse_inputs(files, [strokes])
    refuse_existing(files, options.overwrite)
    writable_folder(folder)


def kept_labels(folder: Path, name: str) -> Volume:
    """The labels that a correction called `name` in `folder` kept. Raises UserError where there are none."""
    file = folder / (name + ENDINGS["before"])
    if not os.path.isfile(file):
        raise UserError(code=Code.FILE_MISSING, subject=file, expected="the labels of before a correction",
                        found="none", hint="--undo takes the latest correction back, once")
    return read_labelmap(file)


def refuse_edited(folder: Path, name: str) -> None:
    """Raises UserError where the labels of a correction called `name` in `folder` were changed since: what somebody
    edited by hand is kept nowhere else."""
    # Written last of these, so that whatever is newer is not of the correction.
    corrected = (folder / (name + ENDINGS["before"])).stat().st_mtime
    files = result_files(folder, name, preview=False)
    for file in (files["labelmap"], files["segmentation"]):
        if os.path.isfile(file) and file.stat().st_mtime > corrected + _COPIED_S:
            raise UserError(code=Code.FILE_EXISTS, subject=file, expected="a file as the correction left it",
                            found="one that was changed since", hint="--overwrite replaces it all the same")


def refuse_kept_strokes(strokes: Path, folder: Path, name: str) -> None:
    """Raises UserError where a correction called `name` would keep its own strokes in the file that it is given: taking
    it back would remove that file, which may be all there is of what somebody drew."""
    kept = folder / (name + ENDINGS["strokes"])
    if os.path.isfile(kept) and os.path.isfile(strokes) and os.path.samefile(kept, strokes):
        raise UserError(code=Code.FILE_EXISTS, subject=strokes, expected="strokes in a file of another name or folder",
                        found="the file that the correction keeps its own in", hint="copy it, or choose another OUT")


def forget_correction(folder: Path, name: str) -> None:
    """Removes what a correction keeps beside the labels, once it was taken back; strokes of those before stay."""
    endings = set(ENDINGS.values())
    if os.path.isfile(folder / (name + EARLIER_STROKES)):
        put_in_place(folder / (name + EARLIER_STROKES), folder / (name + STROKES_ENDING))
        endings -= {STROKES_ENDING, NAMES_ENDING}
    for ending in endings:
        (folder / (name + ending)).unlink(missing_ok=True)
