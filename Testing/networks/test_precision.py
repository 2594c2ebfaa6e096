"""The precision of networks: which layers compute in it, true gradients of flat inputs, and the kernels of float32."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.profiler import profile

from PartialOrganSegLib.networks.precision import computing_in

CPU = torch.device("cpu")


def gradient(convolution: nn.Module, image: torch.Tensor, upstream: torch.Tensor,
             kind: torch.dtype | None) -> torch.Tensor:
    """That of the weights."""
    # What is freed here is what a kernel finds that reads memory which is not its own.
    dirt = [torch.full((count,), 1e30) for count in (10_000, 100_000, 1_000_000)]
    del dirt
    convolution.zero_grad()
    with computing_in(CPU, kind):
        output = convolution(image)
    output.backward(upstream.to(output.dtype))
    weight = convolution.weight
    assert isinstance(weight, nn.Parameter)
    assert weight.grad is not None
    return weight.grad.clone()


@pytest.mark.parametrize(("kernel", "slices"), [(3, 1), (3, 2), (5, 2), (5, 3), (5, 4)])
def test_flat_inputs_have_the_gradient_of_float32(kernel: int, slices: int) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv3d(32, 32, kernel, padding=kernel // 2).to(memory_format=torch.channels_last_3d)
    image = torch.randn(1, 32, slices, 8, 8).contiguous(memory_format=torch.channels_last_3d)
    upstream = torch.randn(1, 32, slices, 8, 8)
    exact = gradient(convolution, image, upstream, None)
    for _ in range(6):
        assert torch.equal(gradient(convolution, image, upstream, torch.bfloat16), exact)


def test_thicker_inputs_compute_in_bfloat16() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv3d(4, 4, 3, padding=1)
    with computing_in(CPU, torch.bfloat16):
        assert convolution(torch.randn(1, 4, 3, 8, 8)).dtype == torch.bfloat16
        assert convolution(torch.randn(1, 4, 2, 8, 8)).dtype == torch.float32
        assert nn.Linear(2, 2)(torch.randn(1, 2)).dtype == torch.bfloat16
        flat = torch.randn(1, 4, 2, 8, 8)
        by_name = nn.functional.conv3d(input=flat, weight=convolution.weight, bias=convolution.bias, padding=1)
        assert torch.equal(by_name, convolution(flat))
    with computing_in(CPU, torch.bfloat16), torch.no_grad():  # the gradient alone is wrong
        assert convolution(torch.randn(1, 4, 2, 8, 8)).dtype == torch.bfloat16
    with computing_in(CPU, None):
        assert convolution(torch.randn(1, 4, 3, 8, 8)).dtype == torch.float32


# Kernel, stride, padding and dilation as networks have them, axis by axis or the same for all.
SHAPES = [(3, 1, 1, 1), ((1, 3, 3), 1, (0, 1, 1), 1), (3, 2, 1, 1), (2, 2, 0, 1), ((3, 3, 1), (1, 2, 1), (1, 1, 0), 1),
          (3, 1, 2, 2), (1, 1, 0, 1), (3, 1, "same", 1)]


def layers(image: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None,
           shape: tuple) -> list[torch.Tensor]:
    """The convolved image and, where weights learn, the gradients."""
    _, stride, padding, dilation = shape
    convolved = nn.functional.conv3d(image, weight, bias, stride, padding, dilation)
    if not convolved.requires_grad:
        return [convolved]
    leaves = [leaf for leaf in (image, weight, bias) if leaf is not None and leaf.requires_grad]
    upstream = torch.randn(convolved.shape, generator=torch.Generator().manual_seed(1))
    return [convolved, *torch.autograd.grad(convolved, leaves, upstream)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("learning", [True, False])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("channels_last", [True, False])
def test_small_inputs_of_float32_give_what_pytorch_does(shape: tuple, learning: bool, batch: int,
                                                        channels_last: bool) -> None:
    torch.manual_seed(0)
    kernel = shape[0] if isinstance(shape[0], tuple) else (shape[0],) * 3
    image, weight = torch.randn(batch, 5, 7, 9, 8), torch.randn(6, 5, *kernel, requires_grad=learning)
    if channels_last:
        image = image.contiguous(memory_format=torch.channels_last_3d)
    image.requires_grad_(learning)
    for bias in (None, torch.randn(6, requires_grad=learning)):
        expected = layers(image, weight, bias, shape)
        with computing_in(CPU, None):
            ours = layers(image, weight, bias, shape)
        for one, other in zip(ours, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_frozen_weights_and_images_that_need_no_gradient() -> None:
    torch.manual_seed(0)
    for of_image, of_weight in ((True, False), (False, True)):
        image = torch.randn(1, 3, 6, 6, 6, requires_grad=of_image)
        weight = torch.randn(4, 3, 3, 3, 3, requires_grad=of_weight)
        expected = layers(image, weight, None, SHAPES[0])
        with computing_in(CPU, None):
            ours = layers(image, weight, None, SHAPES[0])
        for one, other in zip(ours, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")
@pytest.mark.parametrize(("kernel", "learning"), [(3, True), (3, False), (1, False)])
def test_the_slow_kernels_of_pytorch_are_not_used(kernel: int, learning: bool) -> None:
    convolution = nn.Conv3d(4, 4, kernel, padding=kernel // 2).requires_grad_(learning)
    image = torch.randn(1, 4, 16, 16, 16).contiguous(memory_format=torch.channels_last_3d)

    for kind in (None, torch.float32):
        with profile() as profiled, computing_in(CPU, kind):
            convolution(image)
        assert "aten::slow_conv3d_forward" not in {event.key for event in profiled.key_averages()}


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(1, 2, 0), (1, (2, 1), 0), (1, 1, 0), (1, 2, 1), (3, 2, 1)])
def test_strided_kernels_of_one_pixel_in_2d(kernel: int, stride: int | tuple[int, int], padding: int) -> None:
    torch.manual_seed(0)
    image = torch.randn(4, 4, 33, 32, requires_grad=True)
    weight, bias = torch.randn(8, 4, kernel, kernel, requires_grad=True), torch.randn(8, requires_grad=True)
    # In float64, as the kernels of float32 are those in doubt.
    expected = nn.functional.conv2d(image.double(), weight.double(), bias.double(), stride, padding)
    upstream = torch.randn(expected.shape)
    gradients = torch.autograd.grad(expected, (image, weight, bias), upstream.double())
    for _ in range(20):
        with computing_in(CPU, None):
            ours = nn.functional.conv2d(image, weight, bias, stride, padding)
        torch.testing.assert_close(ours.double(), expected, rtol=1e-4, atol=1e-4)
        for one, other in zip(torch.autograd.grad(ours, (image, weight, bias), upstream), gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)
