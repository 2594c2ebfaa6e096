"""
Correct a CT with a stroke
==========================

A segmentation misses the left kidney. One stroke along it brings the kidney back, in a second; every stroke is obeyed,
and nothing changes where no stroke gives a reason.
"""

import numpy as np
from PIL import Image

import PartialOrganSegLib as pos
from PartialOrganSegLib.formats.preview import preview_picture
from PartialOrganSegLib.formats.strokes import Stroke, Strokes
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.synthesis.phantom import make_phantom

ct, truth = make_phantom((64, 64, 80), (4.0, 4.0, 4.0), seed=3, centre_zyx=(60.0, 0.0, 0.0))
kidney = WORD16.names.index("left_kidney") + 1
start = Volume(np.where(truth.array == kidney, 0, truth.array).astype(np.uint8), truth.grid)

# %%
# The stroke: from end to end of the kidney on its largest slice, in patient coordinates (LPS, mm).

slice_index = int((truth.array == kidney).sum(axis=(1, 2)).argmax())
rows, columns = np.nonzero(truth.array[slice_index] == kidney)
first, last = rows.argmin(), rows.argmax()
points = []
for end in (first, last):
    voxel = (columns[end], rows[end], slice_index, 1)  # x, y, z, as the matrix wants it
    points.append(tuple(float(mm) for mm in (truth.grid.matrix @ voxel)[:3]))
drawn = Strokes(image="phantom", drawn_by="me", licence="CC0-1.0",
                strokes=[Stroke(organ="left_kidney", points=points, width_mm=5)])

result = pos.refine(ct, drawn, labels=start, device="cpu")
for change in result.changes:
    print(change.text())

# %%
# Before, and after.

pictures = [preview_picture(ct, labels, WORD16) for labels in (start, result.labels)]
picture = Image.new("RGB", (pictures[0].width, pictures[0].height + pictures[1].height))
picture.paste(pictures[0], (0, 0))
picture.paste(pictures[1], (0, pictures[0].height))
