"""
Segment a CT
============

The embedded model on a synthetic CT: labels on the CT's grid, volumes, checks and a picture. For a CT of your own, give
its path to ``pos.segment`` in place of the phantom.
"""

import PartialOrganSegLib as pos
from PartialOrganSegLib.synthesis.phantom import make_phantom

# 5 mm voxels keep the example short. The upper abdomen alone: organs of the pelvis are not in the picture.
ct, _ = make_phantom((48, 64, 80), (5.0, 5.0, 5.0), centre_zyx=(90.0, 0.0, 0.0))
result = pos.segment(ct, device="cpu")

for name, organ in result.organs.items():
    if organ.volume_ml:
        print(f"{name:14s} {organ.volume_ml:7.0f} ml  {', '.join(check.text() for check in organ.checks)}")

# %%
# The picture has three planes, with an outline for each organ. ``result.save("organs.nii.gz")`` writes the labels,
# ``result.show("picture.png")`` the picture.

picture = result.show()
