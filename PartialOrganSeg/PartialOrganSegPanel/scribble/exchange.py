"""Strokes from and to files that the user chooses: label maps in the 255 convention, and cases for training."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from PartialOrganSegLib.errors import UserError

from ..scene.ct_identity import ct_file_name
from ..scene.stroke_labelmap import NOT_DRAWN, scribble_labelmap
from ..shell.saving import CaseSaving, name_to_save
from ..shell.services import Dialogs
from .files import CASE_ENDINGS, read_map, save_map, write_case

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")


class StrokeExchange:
    """`say(text, tooltip)` shows the user what was written or read, or why it was not; `changed()`: a case begins to be
    saved, or is."""

    def __init__(self, dialogs: Dialogs, say: Callable[[str, str], None], changed: Callable[[], None]) -> None:
        self._dialogs = dialogs
        self._say = say
        self.case = CaseSaving(dialogs, say, changed)

    def load(self, volume: slicer.vtkMRMLScalarVolumeNode, organs: int,
             drawn: slicer.vtkMRMLSegmentationNode | None) -> np.ndarray | None:
        """A label map (z, y, x) to draw on the CT, None for none. With strokes `drawn` already, the user is asked
        whether they stay below the loaded ones. `organs`: number of organs of the label space."""
        path = self._dialogs.choose_file(_("Strokes to load"), _pattern())
        if path is None:
            return None
        with self._show_failure():
            with self._waiting(_("Reading {name} ...").format(name=path.name)):
                labels = read_map(path, volume, organs)
            if drawn is not None:
                answer = self._dialogs.ask(_("Load strokes"), _("There are strokes on this CT already."),
                                           [("replace", _("Replace them")), ("merge", _("Draw over them"))])
                if answer is None:
                    return None
                # where both have a stroke the loaded one counts, as a later stroke does
                if answer == "merge":
                    labels = np.where(labels == NOT_DRAWN, scribble_labelmap(drawn, volume), labels)
            self._say(_("{name} loaded.").format(name=path.name), str(path))
            return labels
        return None

    def save(self, strokes: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Saves a label map."""
        path = self._dialogs.choose_file(_("Save the strokes as"), _pattern(),
                                         f"{ct_file_name(volume)}_scribble{SUFFIXES[0]}")
        if path is None:
            return
        if not path.name.endswith(SUFFIXES):  # the dialog asked about a file of another name
            name = name_to_save(self._dialogs, path.parent, path.name, SUFFIXES[:1])
            if name is None:
                return
            path = path.with_name(name + SUFFIXES[0])
        with self._show_failure():
            with self._waiting(_("Writing {name} ...").format(name=path.name)):
                save_map(strokes, volume, path)
            self._say(_("Strokes written to {name}.").format(name=path.name), str(path))

    def save_case(self, strokes: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Saves CT, label map and manifest."""
        self.case.save(ct_file_name(volume), CASE_ENDINGS,
                       lambda folder, name: write_case(strokes, volume, folder, name),
                       _("CT and strokes written; {name} lists them."))

    @contextlib.contextmanager
    def _waiting(self, text: str) -> Iterator[None]:
        """Says what is done meanwhile: Slicer reads and writes a label map in one go."""
        self._say(text, "")
        slicer.app.setOverrideCursor(qt.Qt.WaitCursor)
        slicer.app.processEvents()
        try:
            yield
        finally:
            slicer.app.restoreOverrideCursor()

    @contextlib.contextmanager
    def _show_failure(self) -> Iterator[None]:
        try:
            yield
        except UserError as error:
            self._say(str(error), "")
        except OSError as error:
            # Of writing: what cannot be read is a UserError.
            self._say(_("{file} could not be written: {reason}").format(
                file=error.filename or _("The file"), reason=error.strerror or error), "")


def _pattern() -> str:
    return _("Label maps") + f" ({' '.join(f'*{suffix}' for suffix in SUFFIXES)})"
