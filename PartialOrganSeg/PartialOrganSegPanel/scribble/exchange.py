"""Strokes from and to files that the user chooses: label maps in the 255 convention, and cases for training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import slicer
from slicer.i18n import tr as _

from ..scene.ct_identity import ct_file_name
from ..scene.label_map_file import SUFFIXES
from ..scene.organ_versions import moment
from ..scene.stroke_counts import count_strokes
from ..scene.stroke_labelmap import stroke_layer
from ..shell.job import Progress
from ..shell.saving import CaseSaving, FileWork, name_to_save
from ..shell.services import Dialogs
from ..shell.steps import counted
from .at_hand import AtHand
from .files import CASE_ENDINGS, CASE_LABELS, earlier_endings, read_map, save_maps, write_case
from .texts import saved_earlier_text


class StrokeExchange:
    """`say(text, tooltip)` shows the user what was written or read, or why it was not; `changed()`: `work` begins, or
    has ended. `draw(layer)` puts what was read in the place of the strokes at hand."""

    def __init__(self, dialogs: Dialogs, at_hand: AtHand, draw: Callable[[slicer.vtkOrientedImageData], None],
                 say: Callable[[str, str], None], changed: Callable[[], None]) -> None:
        self._dialogs, self._at_hand, self._draw, self._say = dialogs, at_hand, draw, say
        self.work = FileWork(say, changed)
        self._case = CaseSaving(dialogs, self.work, say)

    # --- loading

    def load(self) -> None:
        """Asks for a file with strokes on the CT at hand, reads it and draws them."""
        path = self._dialogs.choose_file(_("Strokes to load"), _pattern())
        if path is None:
            return
        volume, text = self._at_hand.volume, _("Reading {name} ...").format(name=path.name)
        organs = len(self._at_hand.colours) - 1
        self.work.start(counted(read_map(path, volume, organs), Progress("", 0, 2, None)), text,
                        lambda labels: self._read(path, volume, labels))

    def _read(self, path: Path, volume: slicer.vtkMRMLScalarVolumeNode, labels: np.ndarray) -> None:
        """With strokes drawn already, the user is asked whether they stay below the loaded ones."""
        if self._at_hand.volume is not volume:  # never on another patient's CT
            self._say(_("Another CT was chosen meanwhile: nothing was loaded."), "")
            return
        drawn, over_strokes = self._at_hand.strokes, False
        if drawn is not None and count_strokes(drawn, volume).total:
            answer = self._dialogs.ask(_("Load strokes"), _("There are strokes on this CT already."),
                                       [("replace", _("Replace them")), ("merge", _("Draw over them"))])
            if answer is None:
                self._say("", "")
                return
            # where both have a stroke the loaded one counts, as a later stroke does
            over_strokes = answer == "merge"
        # the window works on meanwhile: what the user draws in this time must not be replaced unasked
        strokes = self._at_hand.make_strokes()
        before = moment(strokes)
        self.work.start(counted(stroke_layer(strokes, volume, labels, over_strokes), Progress("", 1, 2, None)),
                        _("Drawing the strokes of {name} ...").format(name=path.name),
                        lambda layer: self._put(path, strokes, before, layer))

    def _put(self, path: Path, strokes: slicer.vtkMRMLSegmentationNode, before: tuple[object, ...],
             layer: slicer.vtkOrientedImageData) -> None:
        if self._at_hand.strokes is not strokes or moment(strokes) != before:
            self._say(_("The strokes were changed meanwhile: nothing was loaded. Load the file again."), "")
            return
        self._draw(layer)
        self._say(_("{name} loaded.").format(name=path.name), str(path))

    # --- saving

    def save(self, strokes: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode,
             earlier: Sequence[slicer.vtkMRMLSegmentationNode]) -> None:
        """Saves a label map, and one of each of the `earlier` strokes beside it."""
        path = self._dialogs.choose_file(_("Save the strokes as"), _pattern(),
                                         f"{ct_file_name(volume)}_scribble{SUFFIXES[0]}")
        if path is None:
            return
        if not path.name.endswith(SUFFIXES):  # the dialog asked about a file of another name
            name = name_to_save(self._dialogs, path.parent, path.name, SUFFIXES[:1])
            if name is None:
                return
            path = path.with_name(name + SUFFIXES[0])
        suffix = next(suffix for suffix in SUFFIXES if path.name.endswith(suffix))
        stem, endings = path.name.removesuffix(suffix), earlier_endings(len(earlier), suffix)
        # the dialog asked about the file of the latest alone
        earlier_stem = name_to_save(self._dialogs, path.parent, stem, endings)
        if earlier_stem is None:
            return
        maps = {path: strokes}
        for node, ending in zip(earlier, endings, strict=True):
            maps[path.with_name(earlier_stem + ending)] = node
        said = " ".join(filter(None, [_("Strokes written to {name}.").format(name=path.name),
                                      saved_earlier_text(strokes, earlier)]))
        self.work.start(counted(save_maps(maps, volume), Progress("", 0, 1, None)),
                        _("Writing {name} ...").format(name=path.name), lambda _nothing: self._say(said, str(path)))

    def save_case(self, strokes: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode,
                  earlier: Sequence[slicer.vtkMRMLSegmentationNode]) -> None:
        """Saves CT, label map and manifest, which does not list the label maps of `earlier` strokes."""
        endings = earlier_endings(len(earlier), CASE_LABELS)
        self._case.save(ct_file_name(volume), [*CASE_ENDINGS, *endings],
                        lambda folder, name: write_case(strokes, volume, folder, name, earlier),
                        _("CT and strokes written; {name} lists them."),
                        lambda: saved_earlier_text(strokes, earlier))


def _pattern() -> str:
    return _("Label maps") + f" ({' '.join(f'*{suffix}' for suffix in SUFFIXES)})"
