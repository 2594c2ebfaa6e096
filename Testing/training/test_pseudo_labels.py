"""Pseudo-labels: within what the annotation allows, and only where the snapshot is sure."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from PartialOrganSegLib.annotation import OUTSIDE, UNKNOWN
from PartialOrganSegLib.training.pseudo_labels import MOMENTUM, Snapshot


def table_of_sets(generator: torch.Generator) -> torch.Tensor:
    """Nine codes of four classes: outside, anything, each class, and three sets at random."""
    table = torch.cat([torch.ones(2, 4), torch.eye(4)[torch.randperm(4, generator=generator)],
                       (torch.rand(3, 4, generator=generator) < 0.5).float()]).bool()
    table[6:, 0] = True  # a set must not be empty
    return table


class Constant(nn.Module):
    """Logits that are what it was given, of the images whose voxels are their number."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("logits", logits)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.logits[image[:, 0, 0, 0, 0].long()]


@settings(max_examples=30)
@given(st.integers(0, 2**31))
def test_pseudo_labels_stay_within_candidate_sets(seed):
    """Zhou 2019, equation 5: the most likely class among those the annotation allows; what is certain stays,
    and what lies outside the image gets no label."""
    generator = torch.Generator().manual_seed(seed)
    table = table_of_sets(generator)
    logits = torch.randn(2, 4, 2, 3, 3, generator=generator)
    codes = torch.randint(0, 9, (2, 2, 3, 3), generator=generator).to(torch.uint8)
    images = torch.arange(2.0)[:, None, None, None, None].expand(2, 1, 2, 3, 3)
    filled = Snapshot(Constant(logits), table, 1).fill(images, codes)
    for place in torch.cartesian_prod(*(torch.arange(n) for n in codes.shape)):
        b, z, y, x = place.tolist()
        if codes[b, z, y, x] == OUTSIDE:
            assert filled[b, z, y, x] == OUTSIDE
            continue
        allowed = table[int(codes[b, z, y, x])]
        best = max(range(4), key=lambda c: float(logits[b, c, z, y, x]) if allowed[c] else float("-inf"))
        assert table[int(filled[b, z, y, x])].tolist() == [c == best for c in range(4)]


def test_certain_images_cost_no_prediction():
    snapshot = Snapshot(nn.Identity(), torch.cat([torch.ones(2, 2), torch.eye(2)]).bool(), 3)
    # Calling the network would fail.
    snapshot.network.forward = None
    codes = torch.full((2, 2, 2, 2), 2, dtype=torch.uint8)
    codes[0, 0] = OUTSIDE
    assert snapshot.fill(torch.zeros(2, 1, 2, 2, 2), codes) is codes
    assert [snapshot.due(step) for step in range(5)] == [True, False, False, True, False]


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.floats(0.3, 0.95))
def test_only_what_the_snapshot_is_sure_of_becomes_a_label(seed, least):
    """In numpy: a class's bound is the least confidence times the running mean of its
    confidence, relative to the surest class's. Twice, so that the second mini-batch sees what the first one left."""
    generator = torch.Generator().manual_seed(seed)
    table = table_of_sets(generator)
    logits = 3 * torch.randn(2, 4, 2, 3, 3, generator=generator)
    codes = torch.randint(0, 9, (2, 2, 3, 3), generator=generator).to(torch.uint8)
    images = torch.arange(2.0)[:, None, None, None, None].expand(2, 1, 2, 3, 3)
    snapshot = Snapshot(Constant(logits), table, 1, least)
    means = np.ones(4)
    for _ in range(2):
        filled = snapshot.fill(images, codes).numpy()
        labels, confidences = {}, {}
        for place in np.ndindex(*codes.shape):
            allowed = table[int(codes[place])].numpy()
            if codes[place] == OUTSIDE or allowed.sum() == 1:
                assert filled[place] == codes[place]
                continue
            image, *voxel = place
            likelihood = allowed * np.exp(logits[(image, slice(None), *voxel)].double().numpy())
            labels[place], confidences[place] = likelihood.argmax(), likelihood.max() / likelihood.sum()
        for label in set(labels.values()):
            mean = np.mean([confidences[place] for place in labels if labels[place] == label])
            means[label] = MOMENTUM * means[label] + (1 - MOMENTUM) * mean
        for place, label in labels.items():
            bound = least * means[label] / means.max()
            if abs(confidences[place] - bound) < 1e-5:
                continue  # which side of it depends on rounding
            if confidences[place] > bound:
                assert table[int(filled[place])].tolist() == [c == label for c in range(4)]
            else:
                assert filled[place] == codes[place]
    assert snapshot.class_confidence.numpy() == pytest.approx(means, abs=1e-5)


def test_an_organ_that_is_unsure_everywhere_has_a_lower_bound():
    """Else it would never get a label: its .6 is little beside .99, and all that there is."""
    table = torch.cat([torch.ones(2, 3), torch.eye(3)]).bool()
    probabilities = torch.tensor([[.995, .2, .2], [.003, .6, .25], [.002, .2, .55]])  # classes x voxels
    snapshot = Snapshot(Constant(probabilities.log()[None, :, :, None, None]), table, 1, 0.9)
    image, codes = torch.zeros(1, 1, 3, 1, 1), torch.full((1, 3, 1, 1), UNKNOWN, dtype=torch.uint8)
    assert snapshot.fill(image, codes).flatten().tolist() == [2, UNKNOWN, UNKNOWN]
    for _ in range(400):
        filled = snapshot.fill(image, codes)
    assert filled.flatten().tolist() == [2, 3, 4]
