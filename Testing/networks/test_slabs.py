"""A decoder's convolution slab by slab gives the values of the whole."""

import pytest
import torch
from torch import nn

from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.networks.slabs import SLAB, joined_in_slabs


@pytest.mark.parametrize("depth", [2, SLAB, SLAB + 2, 3 * SLAB])
@pytest.mark.parametrize(("stride", "kernel"), [((2, 2, 2), (3, 3, 3)), ((1, 2, 2), (1, 3, 3))])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_as_the_whole(depth: int, stride: tuple[int, int, int], kernel: tuple[int, int, int],
                      precision: torch.dtype) -> None:
    torch.manual_seed(0)
    enlarge = nn.ConvTranspose3d(6, 4, stride, stride)
    convolution = nn.Conv3d(8, 4, kernel, padding=tuple(size // 2 for size in kernel))
    coarse = torch.randn(1, 6, depth // stride[0], 5, 6).contiguous(memory_format=torch.channels_last_3d)
    skip = torch.randn(1, 4, depth, 10, 12).contiguous(memory_format=torch.channels_last_3d)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        whole = convolution(torch.cat([enlarge(coarse), skip.to(enlarge(coarse).dtype)], 1))
        slabs = joined_in_slabs(enlarge, convolution, coarse, skip)
    assert slabs.dtype == whole.dtype == precision
    torch.testing.assert_close(slabs, whole)


@pytest.mark.parametrize("residual", [False, True])
def test_a_network_gives_the_same_with_and_without_gradients(residual: bool) -> None:
    """With gradients nothing is cut into slabs."""
    torch.manual_seed(0)
    network = build_network("nnunet_v2", 1, 3, features=[4, 8], kernels=[[3, 3, 3]] * 2, strides=[[1, 1, 1], [2, 2, 2]],
                            encoder=[1, 2], decoder=[2], residual=residual).eval()
    image = torch.randn(1, 1, 2 * SLAB + 4, 8, 12)
    with torch.inference_mode():
        slabs = network(image)
    torch.testing.assert_close(slabs, network(image).detach())
