"""Which CTs of the scene a model can learn from, and what is known of each: derived from Review and Scribble."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import slicer
import slicer.util

from PartialOrganSegLib.organs import BACKGROUND

from .drawn_strokes import DrawnStrokes
from .organ_rows import accepted_organs
from .segmentation_result import find_results
from .strokes import find_strokes

FULL, PARTIAL, SCRIBBLE, UNLABELLED = "full", "partial", "scribble", "unlabelled"  # as in a manifest
# attributes of a CT: "yes" or "no" once the user has decided
_INCLUDED, _MEASURED = "PartialOrganSeg.FineTune", "PartialOrganSeg.FineTuneMeasure"


@dataclass(frozen=True)
class SceneCase:
    """A CT with its accepted organs and what strokes are drawn of (organs, background). Nodes are held by ID.

    `included`: it takes part in a run; `measured`: not to be learnt from, but to measure Dice on. `accepted_in`: the
    segmentation's name where others of this CT hold accepted organs, too, which do not count; else empty. `uncounted`:
    names of other nodes of strokes on this CT, older than the one that counts, in which something is drawn.
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
    uncounted: tuple[str, ...] = ()

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
        if self.accepted and set(space) <= set(self.accepted):
            return FULL
        if self.accepted:
            return PARTIAL
        if self.drawn:
            return SCRIBBLE
        return UNLABELLED


def label_space_names(model: Iterable[str], cases: Iterable[SceneCase]) -> list[str]:
    """The start model's organs, and after them those that cases show and it lacks."""
    names = dict.fromkeys(model)
    for case in cases:
        names |= dict.fromkeys(case.organs)
    return list(names)


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
    if chosen in labelled:
        return chosen
    if labelled:
        return labelled[-1]
    return None


class CaseList:
    """Looks at the scene. Strokes are counted anew only where they changed, so looking is cheap."""

    def __init__(self) -> None:
        self._drawn = DrawnStrokes()

    def look(self, chosen: slicer.vtkMRMLSegmentationNode | None) -> list[SceneCase]:
        """All CTs of the scene. `chosen`: of several segmentations of its CT, the one that counts."""
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        return [self._case(volume, chosen) for volume in volumes if _is_ct(volume)]

    def _case(self, volume: slicer.vtkMRMLScalarVolumeNode, chosen: slicer.vtkMRMLSegmentationNode | None) -> SceneCase:
        labelled, strokes = _labelled_results(volume), find_strokes(volume)
        result = _that_counts(labelled, chosen)
        segmentation_id, accepted, accepted_in = "", (), ""
        if result is not None:
            segmentation_id, accepted = result.GetID(), tuple(accepted_organs(result))
        if len(labelled) > 1:
            accepted_in = result.GetName()
        strokes_id, drawn = "", ()
        uncounted = tuple(node.GetName() for node in self._drawn.uncounted(volume))
        if strokes is not None:
            drawn = self._drawn.of(strokes, volume)
        if drawn:
            strokes_id = strokes.GetID()
        # until the user decides, a CT takes part as soon as there is something to learn from
        included = bool(accepted or drawn)
        if volume.GetAttribute(_INCLUDED):
            included = volume.GetAttribute(_INCLUDED) == "yes"
        return SceneCase(volume.GetID(), volume.GetName(), segmentation_id, accepted, strokes_id, drawn, included,
                         volume.GetAttribute(_MEASURED) == "yes", accepted_in, uncounted)


def _is_ct(volume: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether a node has voxels in three dimensions to segment, and is meant for users. A label map is a scalar volume,
    too, by its class."""
    image = volume.GetImageData()
    if volume.GetClassName() != "vtkMRMLScalarVolumeNode" or volume.GetHideFromEditors() or image is None:
        return False
    return min(image.GetDimensions()) > 1


def include(volume_id: str, included: bool) -> None:
    """Remembers with the CT whether it takes part."""
    slicer.mrmlScene.GetNodeByID(volume_id).SetAttribute(_INCLUDED, "yes" if included else "no")


def measure(volume_id: str, measured: bool) -> None:
    """Remembers with the CT whether it is kept for measuring."""
    slicer.mrmlScene.GetNodeByID(volume_id).SetAttribute(_MEASURED, "yes" if measured else "no")
