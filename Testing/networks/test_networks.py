"""The registered networks: shapes, gradients, clear errors."""

from __future__ import annotations

import pytest
import torch

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.networks.norms import InstanceNorm


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize(("channels", "multiple"), [([4, 6], (2, 4, 4)), ([4, 6, 8], (4, 8, 8))])
def test_logits_have_the_input_s_size(norm, channels, multiple):
    network = build_network("light_unet", 1, 3, channels=channels, norm=norm)
    assert network.size_multiple == multiple
    # A different number of multiples along each axis: swapped axes would not fit.
    sizes = [multiple[0] * 3, multiple[1] * 2, multiple[2] * 4]
    assert network(torch.zeros(2, 1, *sizes)).shape == (2, 3, *sizes)


def test_several_input_channels():
    assert build_network("light_unet", 2, 17, channels=[4, 4])(torch.zeros(1, 2, 4, 8, 8)).shape == (1, 17, 4, 8, 8)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_gradient_reaches_every_parameter(norm):
    torch.manual_seed(0)
    network = build_network("light_unet", 1, 3, channels=[4, 6, 8], norm=norm)
    network(torch.randn(2, 1, 8, 16, 16)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


def test_every_input_voxel_reaches_its_own_logits():
    torch.manual_seed(0)
    network = build_network("light_unet", 1, 2, channels=[4, 6]).eval()
    image = torch.randn(1, 1, 4, 8, 8, requires_grad=True)
    # Two corners and a voxel inside: strides and padding go wrong at the border first.
    for place in ((0, 0, 0), (3, 7, 7), (1, 4, 3)):
        (gradient,) = torch.autograd.grad(network(image)[0, 1][place], image)
        assert float(gradient[0, 0][place].abs()) > 0


def test_images_of_a_batch_do_not_mix_in_use():
    torch.manual_seed(0)
    network = build_network("light_unet", 1, 2, channels=[4, 6]).eval()
    images = torch.randn(2, 1, 4, 8, 8)
    assert torch.allclose(network(images)[:1], network(images[:1]), atol=1e-6)


@pytest.mark.parametrize("sizes", [(3, 8, 8), (4, 6, 8), (4, 8, 9)])
def test_wrong_size_is_told_before_anything_is_computed(sizes):
    network = build_network("light_unet", 1, 2, channels=[4, 4])
    with pytest.raises(ValueError, match=r"must be multiples of \(2, 4, 4\)"):
        network(torch.zeros(1, 1, *sizes))


def test_unknown_network_names_the_nearest():
    with pytest.raises(UserError, match=r"'light_unit' \(did you mean 'light_unet'\?\)"):
        build_network("light_unit", 1, 2)


@pytest.mark.parametrize("arguments", [{"depth": 3}, {"norm": "layer"}])
def test_unknown_argument_is_told(arguments):
    with pytest.raises(UserError, match=r"network light_unet: .*(depth|layer)"):
        build_network("light_unet", 1, 2, **arguments)


@pytest.mark.parametrize("images", [1, 3])
def test_instance_norm_is_pytorch_s(images):
    torch.manual_seed(0)
    ours, theirs = InstanceNorm(5), torch.nn.InstanceNorm3d(5, affine=True)
    with torch.no_grad():
        ours.weight.uniform_(0.5, 2)
        ours.bias.uniform_(-1, 1)
    theirs.load_state_dict(ours.state_dict())
    # A mean far from 0, where a variance as the difference of squares loses digits.
    x = 3 + 2 * torch.randn(images, 5, 4, 6, 7).contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
    assert ours(x).is_contiguous(memory_format=torch.channels_last_3d)


def test_one_voxel_at_the_coarsest_level_is_no_error():
    network = build_network("light_unet", 1, 2, channels=[4, 6, 8], norm="instance")
    assert network(torch.randn(1, 1, *network.size_multiple)).isfinite().all()
