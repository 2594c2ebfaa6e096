"""Shows a CT in the window that abdominal organs are read in, unless somebody chose another one."""

from __future__ import annotations

import slicer
import slicer.util

WINDOW_HU, LEVEL_HU = 400.0, 40.0  # of soft tissue
AIR_HU = -500  # a CT shows air around the body; an MR has no such voxels
SAMPLES = 100_000
_DONE = "PartialOrganSeg.Window"  # attribute of a CT: "set" once its window was looked at


def set_abdomen_window(volume: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Once a CT, and only where Slicer chose the window by itself."""
    image, display = volume.GetImageData(), volume.GetDisplayNode()
    if image is None or display is None or volume.GetAttribute(_DONE):
        return
    volume.SetAttribute(_DONE, "set")
    voxels = slicer.util.arrayFromVolume(volume).reshape(-1)
    sample = voxels[::max(1, voxels.size // SAMPLES)]
    if display.GetAutoWindowLevel() and sample.size and sample.min() < AIR_HU:
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(WINDOW_HU, LEVEL_HU)
