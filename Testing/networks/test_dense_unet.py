"""The Dense U-Net that PIPO-FAN is compared with: DenseNet-169's encoder and Li's decoder."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from PartialOrganSegLib.networks.dense_unet import DenseUNet2D


def test_the_encoder_has_as_many_parameters_as_torchvisions():
    """torchvision's densenet169 without its classifier of 1000 classes; a classifier of MONAI's is not left in."""
    network = DenseUNet2D()
    encoder = sum(value.numel() for name, value in network.named_parameters()
                  if name.startswith(("stem.", "blocks.", "transitions.", "last.")))
    assert encoder == 14_149_480 - 1664 * 1000 - 1000
    # 3 x 3 convolutions from each size to the next finer one: block 4 to 3, and on down to the image's own size.
    widths = [(layer[0].in_channels, layer[0].out_channels) for layer in network.decoder]
    assert widths == [(1664, 512), (512, 256), (256, 64), (64, 64), (64, 64)]


def test_the_encoders_features_are_added_at_each_size():
    """What enters each convolution of the decoder: the coarser one enlarged by two, plus the encoder's features."""
    torch.manual_seed(0)
    network = DenseUNet2D(1, 3, blocks=(1, 2, 2), growth=4, features=8).eval()
    values: dict[str, torch.Tensor] = {}

    def record(name: str, module: nn.Module) -> None:
        def hook(_: nn.Module, entering: tuple[torch.Tensor], leaving: torch.Tensor) -> None:
            # Copies: a ReLU works in place.
            values[f"into {name}"], values[name] = entering[0].detach().clone(), leaving.detach().clone()

        module.register_forward_hook(hook)

    parts = {"last": network.last, "match": network.match, "block 0": network.blocks[0], "stem": network.stem}
    for number, convolution in enumerate(network.decoder):
        parts[f"convolution {number}"] = convolution
    for name, module in parts.items():
        record(name, module)
    network(torch.randn(2, 1, 32, 48))
    coarser = "last"
    for number, skip in enumerate(("match", "block 0", "stem", None)):
        expected = values[coarser].repeat_interleave(2, 2).repeat_interleave(2, 3)
        if skip is not None:
            expected = expected + values[skip]
        coarser = f"convolution {number}"
        torch.testing.assert_close(values[f"into {coarser}"], expected)


def test_one_block_is_no_u_net():
    with pytest.raises(ValueError, match="expected those of 2 levels or more"):
        DenseUNet2D(blocks=(4,))
