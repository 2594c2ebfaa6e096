"""Pre-trained weights for the ResNet encoder of DeepLab, from a file of another program.

The file holds tensors under torchvision's names (conv1, bn1, layer1 to layer4), as safetensors or as a checkpoint that
is read without running anything in it. What does not belong to the encoder (fc) is left out.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import nn

from ..errors import Code, UserError

PREFIXES = r"^(module\.|backbone\.|encoder\.)+"
CLASSIFIER = ("fc.", "classifier.")


def load_backbone(network: nn.Module, path: Path) -> int:
    """Puts the weights of a file into the encoder of a DeepLab network, bare or slice by slice; gives their number.

    The first convolution's weights are spread over as many input channels as the network has, so that an image that is
    the same in all of them gives the same features. Raises UserError for a network without such an encoder, for a file
    that is not safe to read and for weights that do not fit.
    """
    encoder = next((module for module in network.modules() if hasattr(module, "backbone_names")), None)
    if encoder is None:
        raise UserError(code=Code.SETTINGS_CONFLICT, subject="network.backbone_weights",
                        expected="a network with a ResNet encoder (deeplabv3...)", found=type(network).__name__)
    # As far as types say, a module's attribute may be a tensor or a module.
    names = cast("Mapping[str, str]", encoder.backbone_names)
    weights: dict[str, torch.Tensor] = {}
    initial = encoder.state_dict()
    for name, value in _read(path).items():
        plain = re.sub(PREFIXES, "", name)
        if plain.startswith(CLASSIFIER):
            continue
        part = next((part for part in names if plain.startswith(part)), None)
        if part is None:
            raise UserError(code=Code.MODEL_UNFIT, subject=path, expected=f"names such as {', '.join(names)}",
                            found=f"'{name}'")
        target = names[part] + plain.removeprefix(part)
        if target in initial and value.ndim == 4 and plain == "conv1.weight":
            channels = initial[target].shape[1]
            value = value.sum(1, keepdim=True).expand(-1, channels, -1, -1) / channels
        if target not in initial or initial[target].shape != value.shape:
            expected = "no such part" if target not in initial else f"{tuple(initial[target].shape)}"
            raise UserError(code=Code.MODEL_UNFIT, subject=f"{path}: {name}", expected=expected,
                            found=f"{tuple(value.shape)}", hint="weights of another ResNet?")
        weights[target] = value
    missing = [name for name in initial if name.startswith(tuple(names.values())) and name not in weights
               and not name.endswith("num_batches_tracked")]
    if missing:
        raise UserError(code=Code.MODEL_UNFIT, subject=path, expected=f"weights of {missing[0]}", found="none")
    encoder.load_state_dict({**initial, **weights})
    return len(weights)


def _read(path: Path) -> Mapping[str, torch.Tensor]:
    """The tensors of a file by name. Raises UserError for one that cannot be read safely."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(code=Code.UNSAFE_FILE, subject=path, expected="tensors only",
                        found="a file that has to be unpickled, which can run code") from None
    except Exception as error:
        raise UserError(code=Code.NOT_READABLE, subject=path, expected="weights (.safetensors, .pth)",
                        found=" ".join(str(error).split())[:200]) from None
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="tensors by name", found="something else")
    return content
