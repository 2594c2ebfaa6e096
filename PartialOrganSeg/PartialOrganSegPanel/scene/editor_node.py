"""The parameter node of a segment editor: which segmentation, segment, effect and CT it works with."""

from __future__ import annotations

import slicer


def editor_node(tag: str) -> slicer.vtkMRMLSegmentEditorNode:
    """The one of singleton tag `tag` in the scene, made where there is none."""
    scene = slicer.mrmlScene
    node = scene.GetSingletonNode(tag, "vtkMRMLSegmentEditorNode")
    if node is None:
        node = slicer.vtkMRMLSegmentEditorNode()
        node.SetSingletonTag(tag)
        node = scene.AddNode(node)
    return node
