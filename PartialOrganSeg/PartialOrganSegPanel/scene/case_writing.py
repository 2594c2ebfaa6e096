"""Writes a CT with what was accepted and drawn on it: two files, and what a manifest must say of them. In pieces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.organs import BACKGROUND

from .ct_file import CtFile
from .ct_tag import refuse_another_ct
from .label_file import grid_of, write_label_layers
from .organ_rows import decided_segments
from .scene_cases import PARTIAL, SCRIBBLE, UNLABELLED, SceneCase
from .stroke_labelmap import NOT_DRAWN
from .strokes import stroke_segments

WriteCt = Callable[[slicer.vtkMRMLScalarVolumeNode, Path], Generator[None, None, CtFile]]


def write_scene_case(case: SceneCase, stem: str, space: Sequence[str], folder: Path,
                     write_ct: WriteCt, lost: dict[str, int] | None = None) -> Generator[None, None, dict[str, Any]]:
    """Writes `stem`.nrrd and, of a labelled case, `stem`_labels.nrrd; gives the case's entry in a manifest.

    `space`: the organs in the order of their label values. `lost` gets the voxels that accepted organs lose to later
    ones which overlap with them. A piece takes some milliseconds, and the scene is left as it
    is. Raises OSError, and UserError when a CT or what is known of it was deleted meanwhile, or an organ was accepted
    in two segments. The CT's name is in no file name: SimpleITK on Windows opens none with letters outside of the
    system's code page.
    """
    if None in map(slicer.mrmlScene.GetNodeByID, filter(None, (case.volume_id, case.segmentation_id, case.strokes_id))):
        raise UserError(_("{ct}: the CT, its segmentation or its strokes were deleted.").format(ct=case.name))
    volume = slicer.mrmlScene.GetNodeByID(case.volume_id)
    for labels_id in filter(None, (case.segmentation_id, case.strokes_id)):
        refuse_another_ct(slicer.mrmlScene.GetNodeByID(labels_id), volume)
    image, label, kind = f"{stem}.nrrd", f"{stem}_labels.nrrd", case.kind(space)
    layers, meaning = _layers(case, kind, space)  # before the CT, which takes a while
    ct = yield from write_ct(volume, folder / image)
    entry: dict[str, Any] = {"image": image, "kind": kind}
    if kind == UNLABELLED:
        return entry
    outside = 0
    if kind == SCRIBBLE:  # what no stroke covers is unknown, not background
        outside = NOT_DRAWN
    counts: Counter[int] = Counter()
    with grid_of(volume, ct) as reference:
        yield from write_label_layers(layers, reference, ct.ijk_to_file, folder / label, outside, counts)
    if lost is not None:  # of organs alone: where a stroke lies on an accepted organ nothing is missing
        lost |= {organ: counts[space.index(organ) + 1] for organ in case.accepted if counts[space.index(organ) + 1]}
    return entry | {"label": label} | meaning


def _layers(case: SceneCase, kind: str, space: Sequence[str],
            ) -> tuple[list[tuple[slicer.vtkMRMLSegmentationNode, dict[str, int]]], dict[str, Any]]:
    """What is drawn into the label map, the later over the earlier, and what the manifest must say of its values.

    Strokes beside accepted organs: the accepted ones are known everywhere, so a voxel without a label is anything but
    them; a stroke says what a voxel is. Where both speak, the accepted organ counts.
    """
    value = {organ: index for index, organ in enumerate(space, 1)}
    meaning: dict[str, Any] = {}
    if kind == PARTIAL:
        meaning["annotated"] = list(case.organs)
    layers = []
    if kind == SCRIBBLE:
        layers.append(_strokes(case, value | {BACKGROUND: 0}))
    elif kind == PARTIAL and case.drawn:
        # 0 is "anything but the accepted organs" here, so strokes of background get a value of their own
        drawn = value | {BACKGROUND: len(space) + 1}
        for organ in case.accepted:
            del drawn[organ]
        layers.append(_strokes(case, drawn))
        meaning["label_map"] = {0: [BACKGROUND, *(organ for organ in space if organ not in case.accepted)],
                                **{value[organ]: [organ] for organ in case.organs}, len(space) + 1: [BACKGROUND]}
    if case.accepted:
        segmentation = slicer.mrmlScene.GetNodeByID(case.segmentation_id)
        segments = decided_segments(segmentation)
        lost = [organ.replace("_", " ") for organ in case.accepted if organ not in segments]
        if lost:  # without its voxels the file would say that the organ is absent
            raise UserError(_("{ct}: no longer accepted, as they were when this began: {organs}. Begin again.").format(
                ct=case.name, organs=", ".join(lost)))
        layers.append((segmentation, {segments[organ]: value[organ] for organ in case.accepted}))
    return layers, meaning


def _strokes(case: SceneCase, values: Mapping[str, int]) -> tuple[slicer.vtkMRMLSegmentationNode, dict[str, int]]:
    """The strokes with a label value for each segment; those of organs without one are left out."""
    strokes = slicer.mrmlScene.GetNodeByID(case.strokes_id)
    segments = stroke_segments(strokes)
    return strokes, {segments[name]: values[name] for name in segments if name in values}
