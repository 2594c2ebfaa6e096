"""Which CTs of the scene a model can learn from, and what is known of each: derived from Review and Scribble."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import slicer
import slicer.util

from PartialOrganSegLib.organs import BACKGROUND

from ..scene.organ_rows import accepted_organs
from ..scene.segmentation_result import find_results
from ..scene.stroke_counts import count_strokes
from ..scene.strokes import find_strokes, stroke_segments
from ..scene.voxel_counts import labelmap

FULL, PARTIAL, SCRIBBLE, UNLABELLED = "full", "partial", "scribble", "unlabelled"  # as in a manifest
# attributes of a CT: "yes" or "no" once the user has decided
_INCLUDED, _MEASURED = "PartialOrganSeg.FineTune", "PartialOrganSeg.FineTuneMeasure"


@dataclass(frozen=True)
class SceneCase:
    """A CT with its accepted organs and what strokes are drawn of (organs, background). Nodes are held by ID.

    `included`: it takes part in a run; `measured`: not to be learnt from, but to measure Dice on. `accepted_in`: the
    segmentation's name where others of this CT hold accepted organs, too, which do not count; else empty.
    """

    volume_id: str
    name: str
    segmentation_id: str
    accepted: tuple[str, ...]
    strokes_id: str
    drawn: tuple[str, ...]
    included: bool
    measured: bool
    accepted_in: str = ""

    @property
    def labelled(self) -> bool:
        """Whether there is something to learn from, beside the image."""
        return bool(self.accepted or self.drawn)

    @property
    def organs(self) -> list[str]:
        """Organs that are annotated, in whatever way."""
        return list(dict.fromkeys([*self.accepted, *(name for name in self.drawn if name != BACKGROUND)]))

    def kind(self, space: Sequence[str]) -> str:
        """The kind of supervision, in a label space of these organs."""
        if self.accepted:
            return FULL if set(space) <= set(self.accepted) else PARTIAL
        return SCRIBBLE if self.drawn else UNLABELLED


def label_space_names(model: Iterable[str], cases: Iterable[SceneCase]) -> list[str]:
    """The start model's organs, and after them those that cases show and it lacks."""
    return list(dict.fromkeys([*model, *(organ for case in cases for organ in case.organs)]))


def labels_of(volume: slicer.vtkMRMLScalarVolumeNode,
              chosen: slicer.vtkMRMLSegmentationNode | None) -> slicer.vtkMRMLSegmentationNode | None:
    """Of the segmentations of a CT the one whose organs are labels: the `chosen` one, or the latest, that has any.

    A newer segmentation in which nothing was checked yet hides no label: a CT is segmented again to see a new model.
    """
    return _that_counts(_labelled_results(volume), chosen)


def _labelled_results(volume: slicer.vtkMRMLScalarVolumeNode) -> list[slicer.vtkMRMLSegmentationNode]:
    """The segmentations of a CT that have an organ that is a label, the latest last."""
    return [node for node in find_results(volume) if accepted_organs(node)]


def _that_counts(labelled: Sequence[slicer.vtkMRMLSegmentationNode],
                 chosen: slicer.vtkMRMLSegmentationNode | None) -> slicer.vtkMRMLSegmentationNode | None:
    return chosen if chosen in labelled else labelled[-1] if labelled else None


class CaseList:
    """Looks at the scene. Strokes are counted anew only where they changed, so looking is cheap."""

    def __init__(self) -> None:
        self._drawn: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {}

    def look(self, chosen: slicer.vtkMRMLSegmentationNode | None) -> list[SceneCase]:
        """All CTs of the scene. `chosen`: of several segmentations of its CT, the one that counts."""
        return [self._case(volume, chosen) for volume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
                if volume.GetClassName() == "vtkMRMLScalarVolumeNode" and not volume.GetHideFromEditors()
                and volume.GetImageData() is not None and min(volume.GetImageData().GetDimensions()) > 1]

    def _case(self, volume: slicer.vtkMRMLScalarVolumeNode, chosen: slicer.vtkMRMLSegmentationNode | None) -> SceneCase:
        labelled, strokes = _labelled_results(volume), find_strokes(volume)
        result = _that_counts(labelled, chosen)
        accepted = tuple(accepted_organs(result)) if result else ()
        drawn = self._strokes_drawn(strokes, volume) if strokes else ()
        decided = volume.GetAttribute(_INCLUDED)
        return SceneCase(volume.GetID(), volume.GetName(), result.GetID() if result else "", accepted,
                         strokes.GetID() if drawn else "", drawn,
                         decided == "yes" if decided else bool(accepted or drawn),
                         volume.GetAttribute(_MEASURED) == "yes",
                         result.GetName() if len(labelled) > 1 else "")

    def _strokes_drawn(self, strokes: slicer.vtkMRMLSegmentationNode,
                       volume: slicer.vtkMRMLScalarVolumeNode) -> tuple[str, ...]:
        segments = strokes.GetSegmentation()
        images = (labelmap(segments.GetSegment(segment_id)) for segment_id in stroke_segments(strokes).values())
        state = tuple(image.GetMTime() if image else 0 for image in images)
        if self._drawn.get(strokes.GetID(), ((), ()))[0] != state:
            self._drawn[strokes.GetID()] = state, tuple(count_strokes(strokes, volume).drawn)
        return self._drawn[strokes.GetID()][1]


def include(volume_id: str, included: bool) -> None:
    """Remembers with the CT whether it takes part."""
    slicer.mrmlScene.GetNodeByID(volume_id).SetAttribute(_INCLUDED, "yes" if included else "no")


def measure(volume_id: str, measured: bool) -> None:
    """Remembers with the CT whether it is kept for measuring."""
    slicer.mrmlScene.GetNodeByID(volume_id).SetAttribute(_MEASURED, "yes" if measured else "no")
