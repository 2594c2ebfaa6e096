"""PIPO-FAN against Fang 2020: parameters of Table VII, equal depth, adaptive fusion, two phases."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.networks import build_network, set_phase
from PartialOrganSegLib.networks.pipo_fan import PIPOFAN, AdaptiveFusion, ResBlock

# Table VII; our counts for the same scales; parameters of the published ones that nothing uses: whole blocks, bridges.
TABLE_VII = {
    (3, 1): (15_981_634, 14_485_314, 1_149_568, 346_752),
    (5, 1): (24_740_034, 24_393_282, 0, 346_752),
    (3, 3): (16_258_566, 14_753_670, 1_149_568, 355_328),
    (5, 3): (25_016_966, 24_661_638, 0, 355_328),
    (5, 5): (28_270_986, 27_907_082, 0, 363_904),
}
FUSION = 3 * 2 + 13


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def tiny(**arguments) -> PIPOFAN:
    torch.manual_seed(0)
    return PIPOFAN(**{"in_channels": 3, "classes": 4, "channels": [8, 8, 12], "input_scales": 3, "output_scales": 3,
                      **arguments})


@pytest.fixture
def image() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 3, 16, 24)


@pytest.mark.parametrize("scales", TABLE_VII)
def test_parameters_are_the_published_less_the_unused(scales):
    # Meta tensors are counted without memory: the published networks have up to 28 million weights.
    published, ours, blocks, bridges = TABLE_VII[scales]
    assert ours == published - blocks - bridges
    with torch.device("meta"):
        network = PIPOFAN(3, 2, *scales)
    assert count(network) == ours + (FUSION if scales[1] > 1 else 0)


def test_single_scale_parameters():
    with torch.device("meta"):
        assert count(PIPOFAN(3, 2, 1, 1)) == 13_927_746
        assert count(PIPOFAN(3, 2, 1, 1, residual=False)) == 13_395_394  # the published ResU-Net of Table VII


def test_the_parts_have_the_published_parameters():
    """The unused bridge of a block that keeps its channels: 2 c of its norm, c c + c of its convolution."""
    with torch.device("meta"):
        network = PIPOFAN(3, 2)

    def bridge(channels: int) -> int:
        return channels**2 + 3 * channels

    assert count(network.first) == 38_848
    assert [count(part) for part in network.downs] == [
        312_448 - bridge(128), 1_247_488 - bridge(256), 4_985_344 - bridge(512), 7_608_832]
    chain = (230_272, 919_296, 3_673_600)
    assert [count(part) for part in network.chains] == [sum(chain[:scale]) for scale in range(4)]
    assert [count(part) for part in network.ups] == [119_616, 202_048, 805_504, 3_216_640]
    head = (78_400 - bridge(64), 119_616, 476_800, 1_903_872)
    assert [count(part) for part in network.heads] == [258 + sum(head[:scale]) for scale in range(5)]
    assert count(network.fusion) == FUSION


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("inputs", [1, 2, 3])
@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_every_parameter_is_used(inputs, outputs, residual, image):
    network = tiny(input_scales=inputs, output_scales=outputs, residual=residual, phase="deep_supervision")
    scales = network(image)
    assert [tuple(s.shape) for s in scales] == [(2, 4, 16 // 2**s, 24 // 2**s) for s in range(outputs)]
    sum((s * torch.randn_like(s)).mean() for s in scales).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None and not name.startswith("fusion.")] == []


def test_features_meet_at_equal_depth():
    """Table I: at each fusion both sides went through the same number of convolutions, on their longest way."""
    depths: list[list[int]] = []

    def blocks(module: torch.nn.Module) -> int:
        return sum(isinstance(part, ResBlock) for part in module.modules())

    network = PIPOFAN(3, 2, 5, 5, channels=[2] * 5)
    path = 1  # the first block
    for chain, down in zip(network.chains, network.downs, strict=True):
        depths.append([path, 1 + blocks(chain)])
        path += blocks(down)
    assert all(a == b for a, b in depths)
    # Decoding: a coarse output's chain is as long as the finer path to the finest output.
    assert [blocks(head) for head in network.heads] == [0, 1, 2, 3, 4]
    assert len(network.ups) == 4


def test_the_first_block_sees_a_pyramid_of_averages(image):
    """One first block sees every scale, each the mean of the finer one's two by two pixels."""
    network = tiny().eval()
    inputs_of_first = []
    network.first.register_forward_hook(lambda _, inputs, __: inputs_of_first.append(inputs[0]))
    network(image)
    # Each scale from the one before; NumPy's sum of four has no setting that could be wrong as pooling's may.
    pooled = image.numpy()
    for scale in inputs_of_first:
        np.testing.assert_allclose(scale, pooled, rtol=1e-5, atol=1e-6)
        pooled = (pooled[..., ::2, ::2] + pooled[..., 1::2, ::2] + pooled[..., ::2, 1::2] + pooled[..., 1::2, 1::2]) / 4
    assert len(inputs_of_first) == 3


@given(st.integers(2, 5), st.integers(1, 6), st.integers(0, 10**6))
def test_fusion_is_the_formula(count_of_scales, classes, seed):
    """(3) to (6) in numpy, from the attention's own maps."""
    torch.manual_seed(seed)
    fusion = AdaptiveFusion(classes).eval()
    scales = [torch.randn(2, classes, 32 >> s, 16 >> s) * 3 for s in range(count_of_scales)]
    with torch.no_grad():
        maps = [fusion.attention(s).numpy() for s in scales]
        fused = fusion(scales).numpy()
    assert all(m.shape[1] == 1 for m in maps)
    certainty = np.stack([m.mean((1, 2, 3)) + m.max((1, 2, 3)) for m in maps], 1).astype(float)
    weights = np.exp(certainty) / np.exp(certainty).sum(1, keepdims=True)
    large = [F.interpolate(s, size=(32, 16), mode="bilinear", align_corners=False).numpy() for s in scales]
    expected = sum(weights[:, i, None, None, None] * upsampled for i, upsampled in enumerate(large))
    np.testing.assert_allclose(fused, expected, rtol=1e-4, atol=1e-4)
    assert count(fusion) == 3 * classes + 13


def test_fusion_of_one_map_is_the_map():
    scores = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(AdaptiveFusion(3).eval()([scores, scores, scores]), scores)


def test_phases(image):
    network = tiny(phase="deep_supervision")
    assert len(network.train()(image)) == 3
    plain = network.eval()(image)
    assert torch.equal(plain, network.heads[0](network._decode(network._encode(image))[0]))
    set_phase(network, "fusion")
    fused = network(image)
    assert fused.shape == plain.shape
    assert not torch.allclose(fused, plain)
    assert network.train()(image).shape == plain.shape
    network(image).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_one_output_has_nothing_to_fuse(image):
    network = tiny(output_scales=1, phase="fusion").eval()
    fused = network(image)
    set_phase(network, "deep_supervision")
    assert torch.equal(network(image), fused)
    assert network.fusion is None


def test_the_registered_one_takes_three_slices_and_names_its_fusion():
    network = build_network("pipo_fan", 1, 2, channels=[4, 4], input_scales=2, output_scales=2)
    assert network.slices == 3
    fusion = [p.numel() for name, p in network.named_parameters() if re.search(r"\bfusion\.", name)]
    assert sum(fusion) == FUSION
    volume = torch.randn(1, 1, 5, 4, 4)
    assert network.train()(volume).shape == (1, 2, 3, 4, 4)
    set_phase(network, "deep_supervision")
    assert [s.shape for s in network(volume)] == [(1, 2, 3, 4, 4), (1, 2, 3, 2, 2)]
    assert network.eval()(volume).shape == (1, 2, 5, 4, 4)


def test_wrong_phase_is_told():
    network = build_network("pipo_fan", 1, 2, channels=[4, 4], input_scales=1, output_scales=1)
    with pytest.raises(UserError, match=r"found 'fusoin' \(did you mean 'fusion'\?\)"):
        set_phase(network, "fusoin")
    with pytest.raises(UserError, match="expected a network that trains in phases, found LightUNet"):
        set_phase(build_network("light_unet", 1, 2, channels=[4]), "fusion")
