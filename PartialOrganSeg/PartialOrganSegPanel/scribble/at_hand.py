"""What section Scribble works on, read from the panel's parameters every time: CT, strokes, prediction, organs."""

from __future__ import annotations

import slicer

from PartialOrganSegLib.organs import BACKGROUND, WORD16, Organ

from ..scene.drawn_strokes import DrawnStrokes
from ..scene.strokes import BACKGROUND_COLOUR, find_strokes, new_strokes, stroke_organs, stroke_segment
from ..shell.model_cards import installed_models
from ..shell.section import SharedPanel
from .states import result_of

UNKNOWN_COLOUR = (128, 128, 128)  # of an organ that the model does not know


class AtHand:
    """The CT of the panel and what belongs to it. `colours` names what can be drawn; `name` is what is selected."""

    def __init__(self, panel: SharedPanel) -> None:
        self._panel = panel
        self._organs_of: tuple[str, tuple[Organ, ...]] = ("", WORD16.organs)  # of the model of that name
        self._drawn = DrawnStrokes()
        self._chosen_of: dict[str, str] = {}  # by the ID of a CT the one of its segmentations that was chosen last

    @property
    def volume(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The CT."""
        return self._panel.parameters.inputVolume

    @property
    def strokes(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The strokes on the CT, None before the first."""
        return find_strokes(self.volume)

    @property
    def uncounted(self) -> tuple[slicer.vtkMRMLSegmentationNode, ...]:
        """Older nodes of strokes on the CT in which something is drawn."""
        if self.volume is None or self.volume.GetImageData() is None:
            return ()
        return self._drawn.uncounted(self.volume)

    @property
    def result(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The predicted segmentation of the CT: of several the one that was chosen last, also while section Review
        looks at another CT's."""
        volume, chosen = self.volume, self._panel.parameters.segmentation
        result = result_of(volume, chosen)
        if result is None:
            return None
        if result is not chosen:
            before = slicer.mrmlScene.GetNodeByID(self._chosen_of.get(volume.GetID(), "none"))
            return result_of(volume, before)
        self._chosen_of[volume.GetID()] = result.GetID()
        return result

    def result_to_change(self) -> slicer.vtkMRMLSegmentationNode | None:
        """As `result`, and from now on the panel's segmentation: section Review watches what strokes do to it, and its
        undo takes that back, whichever other CT's was reviewed before."""
        result = self.result
        if result is not None and self._panel.parameters.segmentation is not result:
            self._panel.parameters.segmentation = result
        return result

    @property
    def colours(self) -> dict[str, tuple[int, int, int]]:
        """Organs of the strokes' label space, or else the model's, and the background, with their colours (0-255)."""
        strokes = self.strokes
        # strokes keep the label space that they were begun in, whatever model is chosen later
        names = tuple(organ.name for organ in self._model_organs())
        if strokes is not None:
            names = stroke_organs(strokes)
        colours = {organ.name: organ.colour for organ in (*WORD16.organs, *self._model_organs())}
        return {name: colours.get(name, UNKNOWN_COLOUR) for name in names} | {BACKGROUND: BACKGROUND_COLOUR}

    @property
    def name(self) -> str:
        """What is selected, empty when nothing is or when the label space lacks it."""
        name = self._panel.parameters.scribble.organ
        if name not in self.colours:
            return ""
        return name

    def make_strokes(self) -> slicer.vtkMRMLSegmentationNode:
        """The strokes on the CT with all their segments; made where there are none."""
        strokes = self.strokes or new_strokes(self.volume, self._model_organs())
        for name, colour in self.colours.items():
            stroke_segment(strokes, name, colour)
        return strokes

    def _model_organs(self) -> tuple[Organ, ...]:
        # kept: to read all installed models from disk at every refresh would be slow
        model = self._panel.parameters.segment.model
        if self._organs_of[0] != model:
            card, organs = installed_models().get(model), WORD16.organs
            if card is not None:
                organs = card.organs
            self._organs_of = model, organs
        return self._organs_of[1]
