"""
Measure a result, and check it without a reference
==================================================

Dice and surface distance need a reference. The checks need none: they compare each organ with what is usual, and find
the coarse mistakes.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import PartialOrganSegLib as pos
from PartialOrganSegLib.formats.writing import write_labelmap
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting.organ_checks import check_organs
from PartialOrganSegLib.synthesis.phantom import make_phantom

folder = Path(tempfile.mkdtemp())
_, truth = make_phantom((64, 64, 80), (4.0, 4.0, 4.0), seed=3, centre_zyx=(60.0, 0.0, 0.0))

# %%
# A result with two faults: everything lies one voxel too far back, and most of the spleen is gone.

spoiled = np.roll(truth.array, 1, axis=1)
spleen = spoiled == WORD16.index("spleen")
lower = np.arange(len(spoiled)) < np.nonzero(spleen)[0].mean()
spoiled[spleen & lower[:, None, None]] = 0
for name, array in (("references", truth.array), ("results", spoiled)):
    (folder / name).mkdir()
    write_labelmap(folder / name / "phantom.nii.gz", Volume(array, truth.grid))

evaluation = pos.evaluate(folder / "results", folder / "references")
scores = [score for score in evaluation.scores if score.dice is not None]  # None: in neither of the two
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
axes.barh([score.structure.replace("_", " ") for score in scores], [score.dice for score in scores])
axes.set(xlabel="Dice", xlim=(0, 1))
axes.invert_yaxis()

# %%
# Without a reference: an organ of an unusual volume is told, one that lies a little too far back is not.

for organ in check_organs(Volume(spoiled, truth.grid), WORD16):
    for check in organ.checks:
        print(f"{organ.organ}: {check.text()}")
