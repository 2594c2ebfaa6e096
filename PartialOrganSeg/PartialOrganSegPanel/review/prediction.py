"""Keeps each organ as it was predicted: in a hidden segmentation that the reviewed one refers to, saved with the scene.

A .seg.nrrd holds only the reviewed segmentation: what was counted comes back with it, the prediction does not.
"""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk

from ..scene.nrrd_pieces import slab_bounds
from ..scene.organ_rows import OrganRow, rows
from ..scene.voxel_counts import (
    BINARY,
    SCALARS,
    Box,
    have_same_voxels,
    labelmap,
    layer_slices,
    mask_in,
    on_grid_of,
    values_in,
    voxel_array,
)

ROLE = "PartialOrganSeg.prediction"  # of the node reference; also the attribute that marks the hidden node


def prediction_node(segmentation: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLSegmentationNode | None:
    """The hidden segmentation that keeps the predictions of `segmentation`."""
    return segmentation.GetNodeReference(ROLE)


def predicted_segment(segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str) -> slicer.vtkSegment | None:
    """A segment as it was predicted, None when that was not kept."""
    predictions = prediction_node(segmentation)
    if predictions is None:
        return None
    return predictions.GetSegmentation().GetSegment(segment_id)


def keep_prediction(segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str, box: Box | None) -> None:
    """Keeps a copy of the segment as the prediction; a copy of an earlier run is replaced.

    `box` of the segment's layer holds all its voxels, None for a segment without one. Only the box is copied: sixteen
    copies of the whole layer would be gigabytes.
    """
    predictions = prediction_node(segmentation) or _new_node(segmentation)
    if predictions.GetSegmentation().GetSegment(segment_id) is not None:
        predictions.GetSegmentation().RemoveSegment(segment_id)
    source = segmentation.GetSegmentation().GetSegment(segment_id)
    copy = slicer.vtkSegment()
    copy.SetName(source.GetName())
    copy.SetColor(source.GetColor())
    copy.SetLabelValue(source.GetLabelValue())
    image = labelmap(source)
    if image is not None and box is not None:
        copy.AddRepresentation(BINARY, _image_of(mask_in(source, box), image, box))
        copy.SetLabelValue(1)
    predictions.GetSegmentation().AddSegment(copy, segment_id)


def restore_prediction(segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str,
                       box: Box | None = None) -> dict[str, int]:
    """Gives the segment its predicted voxels, except those that another organ has by now. Returns these, per organ.

    `box` of the segment's layer holds all its voxels, None where that is not known. Raises LookupError when the
    prediction was not kept.
    """
    predicted = predicted_segment(segmentation, segment_id)
    if predicted is None:
        raise LookupError(segment_id)
    segments = segmentation.GetSegmentation()
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    other_organs: list[tuple[OrganRow, slicer.vtkSegment]] = [
        (row, segments.GetSegment(row.segment_id)) for row in rows(segmentation) if row.segment_id != segment_id]
    # the prediction is on the grid of its run; the organs may lie on another one by now
    like = next((labelmap(segment) for _row, segment in other_organs if labelmap(segment) is not None), None)
    if like is not None:
        predicted = on_grid_of(predicted, like)
    image = labelmap(predicted)
    if image is None:
        logic.ClearSegment(segmentation, segment_id)
        return {}
    mask, held = mask_in(predicted, image.GetExtent()), {}
    # what the user has given to another organ since stays with it; organs share layers, of which each is read once
    layers: dict[slicer.vtkOrientedImageData, dict[int, str]] = {}
    for row, segment in other_organs:
        if labelmap(segment) is not None:
            layers.setdefault(labelmap(segment), {})[segment.GetLabelValue()] = row.organ
    for layer, organs in layers.items():
        held |= _held(mask, layer, image.GetExtent(), organs)
    if not _restore_in_place(segmentation, segment_id, mask, image, box):
        restored = _image_of(mask, image, image.GetExtent())
        logic.SetBinaryLabelmapToSegment(restored, segmentation, segment_id, logic.MODE_REPLACE)
    return held


def _restore_in_place(segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str, mask: np.ndarray,
                      image: slicer.vtkOrientedImageData, box: Box | None) -> bool:
    """Gives the segment the mask (z, y, x; in the extent of `image`) in its own layer, in milliseconds; Slicer's logic
    goes through the whole layer. False, with nothing changed, where the layer cannot hold it."""
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    layer = labelmap(segment)
    if layer is None or box is None or not have_same_voxels(image, layer):
        return False
    at = layer_slices(layer, image.GetExtent())
    if at is None:
        return False
    value, array = segment.GetLabelValue(), voxel_array(layer)
    target = array[at]
    # a segment that is none of ours may share the layer, and overlap with this one only from another layer
    taken = target[mask]
    if np.any((taken != 0) & (taken != value)):
        return False
    current = array[layer_slices(layer, box)]
    current[current == value] = 0
    target[mask] = value
    layer.Modified()
    segmentation.GetSegmentation().InvokeEvent(slicer.vtkSegmentation.SourceRepresentationModified)
    segmentation.Modified()
    return True


def _held(mask: np.ndarray, layer: slicer.vtkOrientedImageData, extent: Box, organs: dict[int, str]) -> dict[str, int]:
    """Takes the voxels that the `organs` (by label value) of a layer have out of the mask of an extent; says how many
    each organ has of them."""
    held = {}
    for at in slab_bounds(mask.shape, mask.itemsize):
        box = (*extent[:4], extent[4] + at[0], extent[4] + at[1] - 1)
        values = values_in(layer, box)
        taken = mask[at[0]:at[1]] & np.isin(values, list(organs))
        numbers = np.bincount(values[taken])
        for value in np.flatnonzero(numbers).tolist():
            held[organs[value]] = held.get(organs[value], 0) + int(numbers[value])
        mask[at[0]:at[1]] &= ~taken
    return held


def forget_predictions() -> None:
    """Removes predictions that no segmentation refers to any more."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    referenced = {node.GetNodeReferenceID(ROLE) for node in nodes}
    for node in nodes:
        # the panel looks again at each removal: the others may be gone by then
        if node.GetAttribute(ROLE) and node.GetID() not in referenced and slicer.mrmlScene.IsNodePresent(node):
            slicer.mrmlScene.RemoveNode(node)


def _new_node(segmentation: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLSegmentationNode:
    node = slicer.vtkMRMLSegmentationNode()
    node.SetName(_("{segmentation} as predicted").format(segmentation=segmentation.GetName()))
    node.SetHideFromEditors(True)
    node.SetAttribute(ROLE, "kept")
    node = slicer.mrmlScene.AddNode(node)
    segmentation.SetNodeReferenceID(ROLE, node.GetID())
    return node


def _image_of(mask: np.ndarray, like: slicer.vtkOrientedImageData, box: Box) -> slicer.vtkOrientedImageData:
    """The mask (z, y, x) as an image with label value 1, in a box of indices of `like` and its geometry."""
    image = slicer.vtkOrientedImageData()
    image.CopyDirections(like)
    image.SetOrigin(like.GetOrigin())
    image.SetSpacing(like.GetSpacing())
    image.SetExtent(box)
    scalars = numpy_to_vtk(mask.ravel().view(np.uint8), deep=True)
    scalars.SetName(SCALARS)
    image.GetPointData().SetScalars(scalars)
    return image
