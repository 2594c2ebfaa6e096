"""2D networks on volumes: which slices reach which prediction, in training and in use."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from PartialOrganSegLib.networks import channels_last, slicewise
from PartialOrganSegLib.networks.slicewise import SliceWise


class Same(nn.Module):
    """Gives its input channels as logits; two scales in train mode if asked."""

    size_multiple = (2, 2)

    def __init__(self, scales: bool = False) -> None:
        super().__init__()
        self.scales = scales
        self.calls: list[tuple[int, ...]] = []

    def forward(self, image):
        self.calls.append(tuple(image.shape))
        return [image, image[..., ::2, ::2]] if self.scales and self.training else image


def neighbours(volume: np.ndarray, slices: int, repeat: bool) -> np.ndarray:
    """(B, C, z, y, x) to (B, C * slices, z or less, y, x): the definition, voxel by voxel along z."""
    margin = slices // 2
    depth = volume.shape[2]
    # In use the outermost slice stands for those beyond it; in training such slices have no answer.
    centres = range(depth) if repeat else range(margin, depth - margin)
    stacked = []
    for z in centres:
        channels = []
        for channel, step in itertools.product(range(volume.shape[1]), range(-margin, margin + 1)):
            channels.append(volume[:, channel:channel + 1, min(max(z + step, 0), depth - 1)])
        stacked.append(np.concatenate(channels, axis=1))
    return np.stack(stacked, axis=2)


@given(st.integers(1, 3), st.integers(1, 2), st.integers(1, 7), st.sampled_from([1, 3, 5]), st.booleans())
def test_channels_are_the_neighbours(batch, channels, depth, slices, training):
    image = torch.randn(batch, channels, depth, 4, 6)
    network = SliceWise(Same(), slices).train(training)
    if training and depth < slices:
        with pytest.raises(ValueError, match=rf"at least {slices} slices \(z\), found {depth}"):
            network(image)
    else:
        np.testing.assert_array_equal(network(image), neighbours(image.numpy(), slices, repeat=not training))


def test_scales_of_deep_supervision():
    image = torch.randn(2, 1, 5, 4, 8)
    network = SliceWise(Same(scales=True), 3)
    fine, coarse = network.train()(image)
    assert fine.shape == (2, 3, 3, 4, 8)
    assert torch.equal(coarse, fine[..., ::2, ::2])
    assert network.eval()(image).shape == (2, 3, 5, 4, 8)


def test_in_use_a_few_slices_pass_at_once(monkeypatch):
    image = torch.randn(2, 1, 7, 4, 4)
    network = SliceWise(Same(), 3).eval()
    expected = network(image)
    monkeypatch.setattr(slicewise, "CHUNK_PIXELS", 2 * 2 * 4 * 4)
    network.network.calls.clear()
    assert torch.equal(network(image), expected)
    # 14 slices in fours: three full passes and a last one of two.
    assert network.network.calls == [(4, 3, 4, 4)] * 3 + [(2, 3, 4, 4)]
    monkeypatch.setattr(slicewise, "CHUNK_PIXELS", 1)
    assert torch.equal(network(image), expected)


def test_gradient_in_eval_mode():
    image = torch.randn(1, 1, 4, 2, 2, requires_grad=True)
    SliceWise(Same(), 3).eval()(image).sum().backward()
    # Every slice is its own and its neighbours'; each end also stands for the slice beyond it.
    assert torch.equal(image.grad, torch.full_like(image, 3))


def test_the_slice_is_any_size():
    assert SliceWise(Same()).size_multiple == (1, 2, 2)


@pytest.mark.parametrize("slices", [0, 2, -1, 1.0])
def test_wrong_number_of_slices(slices):
    with pytest.raises(ValueError, match="slices must be an odd number"):
        SliceWise(Same(), slices)


def test_channels_last_suits_both_ranks():
    network = channels_last(nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Conv3d(2, 3, 3)))
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert network[2].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert isinstance(network[0].weight, nn.Parameter)
