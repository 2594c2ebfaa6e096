"""Networks by name. A new architecture of ours is a file here and a line below; anybody's is `my_package.module:Class`.

A network is an `nn.Module` built with `in_channels` and `classes`, ours are derived from `SegmentationNetwork`; see
`build_network`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import cast

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from ..errors import Code, UserError, did_you_mean
from ..registry import Registry, accepted, check_arguments, make_entry
from .attention_unet import AttentionUNet, attention_unet_2d
from .base import Logits, SegmentationNetwork, size_multiple_of, slices_of
from .deeplabv3plus import deeplabv3_resnet18, deeplabv3plus_resnet50, deeplabv3plus_resnet101
from .dense_unet import DenseUNet2D
from .light_unet import LightUNet
from .nnunet import nnunet_2d, nnunet_3d, resunet_2d
from .nnunet_v2 import NNUNetV2
from .pipo_fan import PIPOFAN
from .slicewise import SliceWise
from .unet_3d import UNet3D
from .unet_plus_plus import UNetPlusPlus2D


def _slicewise(network_2d: Callable[..., nn.Module], default_slices: int = 1) -> Callable[..., SliceWise]:
    """The volume network made of a 2D one; `slices` is its additional argument."""
    def build(in_channels: int, classes: int, slices: int = default_slices, **arguments: object) -> SliceWise:
        return SliceWise(network_2d(in_channels * slices, classes, **arguments), slices)

    # Its own arguments and those of the 2D network, for who asks what it takes.
    present = inspect.signature(build).parameters
    parameters = list(present.values())[:-1]  # without **arguments
    for name, parameter in inspect.signature(network_2d).parameters.items():
        if name not in present:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
    build.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # inspect reads it, types do not have it
    build.__doc__ = network_2d.__doc__
    return build


__all__ = ["GIVEN", "NETWORKS", "Logits", "SegmentationNetwork", "arguments_of_phase", "build_network",
           "channels_last", "set_phase", "size_multiple_of", "slices_of"]

NETWORKS: Registry[Callable[..., nn.Module]] = Registry("network", group="partialorganseg.networks", base=nn.Module)
NETWORKS.add("light_unet", LightUNet)
NETWORKS.add("nnunet_3d", nnunet_3d, "Isensee 2021")
NETWORKS.add("nnunet_v2", NNUNetV2, "Isensee 2021")
NETWORKS.add("nnunet_2d", _slicewise(nnunet_2d), "Isensee 2021")
NETWORKS.add("resunet_2d", _slicewise(resunet_2d), "Luo 2021, section 4")
NETWORKS.add("attention_unet_3d", AttentionUNet, "Oktay 2018")
NETWORKS.add("attention_unet_2d", _slicewise(attention_unet_2d), "Oktay 2018")
NETWORKS.add("unet_plus_plus_2d", _slicewise(UNetPlusPlus2D), "Zhou, IEEE TMI 2020")
NETWORKS.add("dense_unet_2d", _slicewise(DenseUNet2D), "Li 2018; Fang 2020, table V")
NETWORKS.add("deeplabv3_resnet18", _slicewise(deeplabv3_resnet18), "Chen 2017; Fang 2020, table III")
NETWORKS.add("deeplabv3plus_resnet50", _slicewise(deeplabv3plus_resnet50), "Chen 2018")
NETWORKS.add("deeplabv3plus_resnet101", _slicewise(deeplabv3plus_resnet101), "Chen 2018")
NETWORKS.add("unet_3d", UNet3D, "Cicek 2016")
NETWORKS.add("pipo_fan", _slicewise(PIPOFAN, default_slices=3), "Fang 2020")
MOST_WEIGHTS = 1 << 30  # nnU-Net's largest network has a tenth of that
MOST_TENSORS = 20_000  # of weights; a DenseNet has some hundreds
GIVEN = ("in_channels", "classes")  # arguments that no recipe gives


def build_network(name: str, in_channels: int, classes: int, **arguments: object) -> nn.Module:
    """A network by its registered name: (B, in_channels, z, y, x) to logits (B, classes, z, y, x) in eval mode.

    In train mode it may give a list of logits, finest first (deep supervision), and a 2.5D network leaves out the
    slices at both ends that lack a neighbour. `size_multiple` (z, y, x) is what input sizes must be multiples of. In
    eval mode all can be traced and exported (`torch.jit.trace`, `torch.export`) for one input size.
    Raises UserError for an unknown name and an argument the network does not take (with the nearest one), for a network
    without `size_multiple` and when MONAI is needed but missing.
    """
    entry = NETWORKS.find(name)
    check_arguments(entry, arguments, f"network {name}", GIVEN)

    def make() -> nn.Module:
        return make_entry(entry, f"network {name}", arguments, in_channels=in_channels, classes=classes)

    try:
        _check_size(name, make)
        network = make()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "monai":
            raise
        raise UserError(code=Code.PACKAGE_MISSING, subject=f"network {name}",
                        expected="the package monai (pip install monai)", found="none") from None
    if not hasattr(network, "size_multiple"):
        raise UserError(code=Code.MODEL_UNFIT, subject=f"network {name}",
                        expected="an attribute size_multiple (z, y, x), of which input sizes must be multiples",
                        found="none")
    return network


def _check_size(name: str, make: Callable[[], nn.Module]) -> None:
    """Makes a network without memory for its weights, to count them. Raises UserError for more than any has, as soon as
    there are: who asks for a thousand million layers is not kept waiting for them."""
    tensors = weights = 0

    def count(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> None:
        nonlocal tensors, weights
        if parameter is None:
            return
        tensors += 1
        weights += parameter.numel()
        if weights > MOST_WEIGHTS:
            raise UserError(code=Code.TOO_LARGE, subject=f"network {name}", expected=f"at most {MOST_WEIGHTS} weights",
                            found=f"{weights} or more")
        if tensors > MOST_TENSORS:
            raise UserError(code=Code.TOO_LARGE, subject=f"network {name}", found="more",
                            expected=f"at most {MOST_TENSORS} layers and other tensors of weights")

    counting = register_module_parameter_registration_hook(count)
    try:
        # The seeds of a training stay where they are.
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            make()
    except ModuleNotFoundError:
        return
    except UserError as error:
        # Of a network that computes while it is made.
        if isinstance(error.__cause__, NotImplementedError):
            return
        raise
    finally:
        counting.remove()


def set_phase(network: nn.Module, phase: str) -> None:
    """Puts a network that trains in phases (PIPO-FAN), bare or wrapped, into `phase`.

    Raises UserError for a network without phases or an unknown phase.
    """
    phased = _phased(network)
    if not phased:
        raise UserError(code=Code.MODEL_UNFIT, subject="phase", expected="a network that trains in phases",
                        found=type(network).__name__)
    for module in phased:
        if phase not in module.PHASES:
            raise UserError(code=Code.UNKNOWN_NAME, subject="phase", expected=f"one of {', '.join(module.PHASES)}",
                            found=f"'{phase}'", hint=did_you_mean(phase, module.PHASES))
        module.phase = phase


def arguments_of_phase(name: str, network: nn.Module) -> dict[str, object]:
    """The arguments with which `build_network` makes a network called `name` that is in the phase of `network`; none
    where it has no phases."""
    phased = _phased(network)
    if not phased:
        return {}
    return accepted(NETWORKS.find(name), {"phase": phased[0].phase})


def _phased(network: nn.Module) -> list[SegmentationNetwork]:
    """The parts of a network that have phases."""
    # A network of another package need not be derived from ours to have phases.
    return [cast(SegmentationNetwork, module) for module in network.modules() if getattr(module, "PHASES", ())]


def channels_last(network: nn.Module) -> nn.Module:
    """`network` with its 2D and 3D convolutions' weights in channels-last memory, in place.

    `Module.to(memory_format=...)` takes one of the two formats and fails at weights of the other rank.
    """
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.ndim in formats:
            # A new tensor: with one input channel both formats are the same to `contiguous`, which would leave the
            # weights as they are, and the first convolution would give all after it the other format.
            restrided = torch.empty_like(tensor, memory_format=formats[tensor.ndim])
            tensor.data = restrided.copy_(tensor)
    return network
