"""The precision of training: which layers compute in it, and that flat inputs have true gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from PartialOrganSegLib.training.autocast import training_precision

CPU = torch.device("cpu")


def gradient(convolution: nn.Module, image: torch.Tensor, upstream: torch.Tensor,
             kind: torch.dtype | None) -> torch.Tensor:
    """That of the weights."""
    # What is freed here is what a kernel finds that reads memory which is not its own.
    dirt = [torch.full((count,), 1e30) for count in (10_000, 100_000, 1_000_000)]
    del dirt
    convolution.zero_grad()
    with training_precision(CPU, kind):
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
    with training_precision(CPU, torch.bfloat16):
        assert convolution(torch.randn(1, 4, 3, 8, 8)).dtype == torch.bfloat16
        assert convolution(torch.randn(1, 4, 2, 8, 8)).dtype == torch.float32
        assert nn.Linear(2, 2)(torch.randn(1, 2)).dtype == torch.bfloat16
        flat = torch.randn(1, 4, 2, 8, 8)
        by_name = nn.functional.conv3d(input=flat, weight=convolution.weight, bias=convolution.bias, padding=1)
        assert torch.equal(by_name, convolution(flat))
    with training_precision(CPU, None):
        assert convolution(torch.randn(1, 4, 3, 8, 8)).dtype == torch.float32
