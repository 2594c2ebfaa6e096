"""
One network from two partially labelled data sets
=================================================

Somebody drew livers, somebody else spleens, on other CTs. A small network learns both from the two data sets in some
seconds. Its marginal losses leave open what nobody annotated.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import PartialOrganSegLib as pos
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.formats.writing import write_ct, write_labelmap
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.synthesis.phantom import make_phantom

SPACING = 12.0  # mm: coarse, to be quick
folder = Path(tempfile.mkdtemp())


def write_case(name, seed, organ):
    """A CT of the upper abdomen and a label map of one organ."""
    ct, labels = make_phantom((24, 24, 32), (SPACING,) * 3, seed=seed, centre_zyx=(90.0, 0.0, 0.0))
    write_ct(folder / f"{name}.nii.gz", ct)
    mask = (labels.array == {"liver": 1, "spleen": 2}[organ]).astype(np.uint8)
    write_labelmap(folder / f"{name}_label.nii.gz", Volume(mask, labels.grid))
    return f"{{image: {name}.nii.gz, label: {name}_label.nii.gz}}"


livers = ", ".join(write_case(f"a{seed}", seed, "liver") for seed in (1, 2, 3))
spleens = ", ".join(write_case(f"b{seed}", seed, "spleen") for seed in (4, 5, 6))
(folder / "manifest.yaml").write_text(f"""
label_space: [liver, spleen]
datasets:
  - {{name: livers, kind: partial, annotated: [liver], label_map: {{1: liver}}, cases: [{livers}]}}
  - {{name: spleens, kind: partial, annotated: [spleen], label_map: {{1: spleen}}, cases: [{spleens}]}}
""")

# %%
# A recipe says what is learnt and how. In its first stage organs count as much as the background, so that they appear;
# in the second they get their size. ``partialorganseg list recipes`` names the shipped recipes.

(folder / "recipe.yaml").write_text(f"""
manifest: manifest.yaml
preprocessing: {{patch_zyx: [24, 24, 32], spacing_zyx: [{SPACING}, {SPACING}, {SPACING}]}}
network: {{name: light_unet, arguments: {{channels: [8, 16, 32]}}}}
losses: {{marginal_cross_entropy: 1.0, marginal_dice: 1.0}}
batch_size: 2
optimiser: {{learning_rate: 0.01}}
stages:
  - {{name: appear, steps: 120, voxels_per_set: 300, loss_arguments: {{marginal_cross_entropy: {{balanced: true}}}}}}
  - {{name: outline, steps: 180}}
""")


class Curve(Reporter):
    """Keeps the loss of every logged step."""

    def __init__(self):
        self.steps, self.losses = [], []

    def metric(self, **values):
        if "loss" in values:
            self.steps.append(values["step"])
            self.losses.append(values["loss"])


curve = Curve()
pos.train(folder / "recipe.yaml", folder / "run", overrides=["workers=0"], device="cpu", reporter=curve)

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.plot(curve.steps, curve.losses)
axes.set(xlabel="step", ylabel="marginal cross entropy and Dice")

# %%
# On a CT that it has not seen, it finds both.

ct, labels = make_phantom((24, 24, 32), (SPACING,) * 3, seed=7, centre_zyx=(90.0, 0.0, 0.0))
result = pos.segment(ct, model=folder / "run" / "model", device="cpu")
for value, organ in enumerate(("liver", "spleen"), start=1):
    predicted, true = result.array == value, labels.array == value
    print(f"{organ}: Dice {2 * (predicted & true).sum() / (predicted.sum() + true.sum()):.2f}")
picture = result.show()
