"""
What a partial label says
=========================

A label on which only the spleen was drawn says nothing about the liver. Cross entropy that takes the rest for
background punishes a network that finds the liver there; the marginal loss (Shi 2021, equation 5) does not.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

from PartialOrganSegLib.loading.targets import Targets
from PartialOrganSegLib.losses.marginal import MarginalCrossEntropy
from PartialOrganSegLib.organs import label_space_of_names

space = label_space_of_names("both", ["liver", "spleen"])
background, liver, spleen = range(3)

# %%
# Rows 0 and 1 are fixed: a voxel that may be anything, and one outside the image. Row 2 is a voxel inside the drawn
# spleen, row 3 one outside of it, which is anything but spleen. Row 4 is the mistake: "outside" taken for background.

sets = torch.tensor([[1, 1, 1], [1, 1, 1], [0, 0, 1], [1, 1, 0], [1, 0, 0]], dtype=torch.bool)
not_spleen, taken_for_background = 3, 4


def loss_of(code, probability):
    """The loss of one voxel where the network gives `probability` to the liver and the rest to the background."""
    logits = torch.tensor([1 - probability, probability, 1e-6]).log().view(1, 3, 1, 1, 1)
    candidate_map = torch.full((1, 1, 1, 1), code, dtype=torch.uint8)
    return float(MarginalCrossEntropy()(logits, Targets(candidate_map, sets)))


probabilities = np.linspace(0.01, 0.99, 50)
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
for code, text in ((taken_for_background, "the rest taken for background"), (not_spleen, "anything but spleen")):
    axes.plot(probabilities, [loss_of(code, p) for p in probabilities], label=text)
axes.set(xlabel="probability given to the liver", ylabel="loss of a voxel outside the spleen")
axes.legend()

# %%
# A network that is sure of the liver pays nothing for it, and as much as before for calling the voxel spleen.

print(f"liver at 0.99: {loss_of(not_spleen, 0.99):.4f} against {loss_of(taken_for_background, 0.99):.2f}")
