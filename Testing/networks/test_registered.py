"""What every registered network promises: sizes, gradients, deep supervision, weights that come back."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.networks import (
    NETWORKS,
    SegmentationNetwork,
    SliceWise,
    build_network,
    channels_last,
    set_phase,
    size_multiple_of,
    slices_of,
)
from PartialOrganSegLib.networks.unet_3d import UNet3D

# Arguments of a tiny one, its size_multiple and, where train mode gives a list, the z, y, x divisors of its scales.
PLANE = ["attention_unet_2d", "deeplabv3_resnet18", "deeplabv3plus_resnet50", "deeplabv3plus_resnet101",
         "dense_unet_2d", "nnunet_2d", "pipo_fan", "resunet_2d", "unet_plus_plus_2d"]
SMALL = {
    "light_unet": ({"channels": [4, 6]}, (2, 4, 4), None),
    "nnunet_3d": ({"channels": [4, 6, 6, 8], "strides": [[1, 2, 2], 2, 2]}, (4, 8, 8), [(1, 1, 1), (1, 2, 2)]),
    "nnunet_v2": ({"features": [4, 6, 6, 8], "kernels": [[1, 3, 3], [3] * 3, [3] * 3, [3] * 3],
                   "strides": [[1] * 3, [1, 2, 2], [2] * 3, [2] * 3], "encoder": [1, 2, 2, 1], "decoder": [1, 1, 1],
                   "residual": True, "more": [0, 2, 2], "transpose": [1, 0, 2], "flips": [False, True, True]},
                  (8, 4, 8), [(1, 1, 1), (2, 1, 2)]),
    "nnunet_2d": ({"channels": [4, 6, 6, 8]}, (1, 8, 8), [(1, 1, 1), (1, 2, 2)]),
    "resunet_2d": ({"channels": [4, 6, 6, 6, 8]}, (1, 16, 16), [(1, 1, 1), (1, 2, 2), (1, 4, 4)]),
    "attention_unet_3d": ({"channels": [4, 6]}, (2, 2, 2), None),
    "attention_unet_2d": ({"channels": [4, 6, 8]}, (1, 4, 4), None),
    "unet_plus_plus_2d": ({"channels": [4, 4, 4, 6, 6]}, (1, 16, 16), [(1, 1, 1)] * 4),
    "dense_unet_2d": ({"blocks": [1, 2, 1], "growth": 4, "features": 8}, (1, 16, 16), None),
    "deeplabv3_resnet18": ({"width": 2, "features": 8}, (1, 16, 16), None),
    "deeplabv3plus_resnet50": ({"width": 2, "features": 8}, (1, 16, 16), None),
    "deeplabv3plus_resnet101": ({"width": 2, "features": 8}, (1, 16, 16), None),
    "unet_3d": ({"channels": [4, 6, 8]}, (4, 4, 4), None),
    "pipo_fan": ({"channels": [8, 8, 8], "input_scales": 3, "output_scales": 2, "phase": "deep_supervision"},
                 (1, 4, 4), [(1, 1, 1), (1, 2, 2)]),
}
# A ResNet-101 differs from a ResNet-50 in its number of layers alone, and takes twice as long.
DISTINCT = [name for name in SMALL if name != "deeplabv3plus_resnet101"]


def small(name: str, in_channels: int = 1, classes: int = 3, **arguments):
    torch.manual_seed(0)
    return build_network(name, in_channels, classes, **{**SMALL[name][0], **arguments})


def image(name: str, batch: int = 2, channels: int = 1, times: int = 2) -> torch.Tensor:
    """A batch whose sizes are `times` the network's multiples, and three slices or more."""
    z, y, x = SMALL[name][1]
    return torch.randn(batch, channels, max(3, times * z), times * y, times * x)


def test_all_are_tested():
    assert set(SMALL) == set(NETWORKS)


@pytest.mark.parametrize("name", SMALL)
def test_use(name):
    network = small(name, in_channels=2, classes=5).eval()
    data = image(name, channels=2)
    assert network.size_multiple == SMALL[name][1]
    logits = network(data)
    assert logits.shape == (2, 5, *data.shape[2:])
    assert logits.isfinite().all()
    # In eval mode a patch's answer does not depend on what else is in the batch.
    torch.testing.assert_close(network(data[1:]), logits[1:], rtol=1e-3, atol=1e-4)
    # One multiple along each axis: a single voxel at the coarsest level.
    smallest = torch.randn(1, 2, *SMALL[name][1])
    assert network(smallest).shape == (1, 5, *SMALL[name][1])


@pytest.mark.parametrize("name", SMALL)
def test_training_reaches_every_parameter(name):
    network = small(name).train()
    data = image(name)
    logits = network(data)
    divisors = SMALL[name][2]
    if divisors is None:
        assert isinstance(logits, torch.Tensor)
        scales, divisors = [logits], [(1, 1, 1)]
    else:
        assert isinstance(logits, list)
        scales = logits
    # In training a 2.5D network has no answer for the outermost slices, whose neighbours are missing.
    depth = data.shape[2] - (network.slices or 1) + 1
    assert [tuple(scale.shape) for scale in scales] == [
        (2, 3, depth // dz, data.shape[3] // dy, data.shape[4] // dx) for dz, dy, dx in divisors]
    sum((scale * torch.randn_like(scale)).mean() for scale in scales).backward()
    unreached = [key for key, parameter in network.named_parameters() if parameter.grad is None]
    assert [key for key in unreached if "fusion." not in key] == []


@pytest.mark.parametrize("name", DISTINCT)
def test_gradient_reaches_the_image_in_eval_mode(name):
    data = image(name).requires_grad_()
    small(name).eval()(data)[:, 1].sum().backward()
    assert data.grad.isfinite().all()
    assert float(data.grad.abs().max()) > 0


@pytest.mark.parametrize("name", ["nnunet_3d", "nnunet_2d", "resunet_2d", "unet_plus_plus_2d"])
def test_deep_supervision_can_be_left_out(name):
    network = small(name, deep_supervision=False).train()
    logits = network(image(name))
    assert isinstance(logits, torch.Tensor)
    logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("name", DISTINCT)
def test_weights_come_back(name):
    network = small(name).eval()
    data = image(name)
    rebuilt = build_network(name, 1, 3, **SMALL[name][0]).eval()
    assert not torch.equal(rebuilt(data), network(data))
    rebuilt.load_state_dict(network.state_dict())
    assert torch.equal(rebuilt(data), network(data))
    # safetensors refuses tensors that share memory.
    storages = [value.data_ptr() for value in network.state_dict().values()]
    assert len(storages) == len(set(storages)), "no weight is stored twice"


@pytest.mark.parametrize("name", DISTINCT)
def test_channels_last_changes_nothing(name):
    network = small(name).eval()
    data = image(name)
    expected = network(data)
    output = channels_last(network)(data.contiguous(memory_format=torch.channels_last_3d))
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", DISTINCT)
def test_a_wrong_size_is_refused(name):
    network = small(name)
    multiple = SMALL[name][1]
    sizes = [3 * max(multiple), 2 * multiple[1], 2 * multiple[2] + 1]
    axes, units = (r"y, x", multiple[1:]) if multiple[0] == 1 else ("z, y, x", multiple)
    numbers = ", ".join(map(str, units))
    with pytest.raises(ValueError, match=rf"sizes \({axes}\) \(.*{sizes[2]}\) must be multiples of \({numbers}\)"):
        network(torch.zeros(1, 1, *sizes))


@pytest.mark.parametrize("name", ["attention_unet_3d", "attention_unet_2d", "deeplabv3plus_resnet50", "unet_3d",
                                  "pipo_fan"])
def test_one_voxel_cannot_train_a_batch_norm(name):
    network = small(name).train()
    data = torch.randn(2, 1, network.slices or network.size_multiple[0], *network.size_multiple[1:])
    assert len(network(data)) == 2
    with pytest.raises(ValueError, match="one voxel at the coarsest level"):
        network(data[:1])


@pytest.mark.parametrize("name", DISTINCT)
def test_half_precision_and_copies(name):
    network = small(name).train()
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(image(name))
    scales = logits if isinstance(logits, list) else [logits]
    sum(scale.float().square().mean() for scale in scales).backward()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)
    # The evaluator works on a deep copy of the network.
    copied = copy.deepcopy(network).eval()
    data = image(name)
    assert torch.equal(copied(data), network.eval()(data))


def test_default_sizes():
    """Every network as a recipe builds it that names nothing but the architecture, with 17 classes."""
    for name in sorted(set(SMALL) - {"nnunet_v2"}):  # whose plan is always an imported model's
        with torch.device("meta"):
            network = build_network(name, 1, 17)
            data = torch.empty(1, 1, *(max(3, 2 * unit) for unit in network.size_multiple))
            logits = network.train()(data)
            assert (logits[0] if isinstance(logits, list) else logits).shape[1] == 17
            assert network.eval()(data).shape == (1, 17, *data.shape[2:])


@pytest.mark.parametrize("name", PLANE)
@pytest.mark.parametrize("slices", [1, 3])
def test_slices_of_2d_networks(name, slices):
    network = small(name, slices=slices)
    assert isinstance(network, SliceWise)
    data = image(name, batch=1)
    assert network.eval()(data).shape[2] == data.shape[2]
    reached = data.clone().requires_grad_()
    network(reached)[:, :, 0].sum().backward()
    slice_reached = reached.grad.abs().amax((0, 1, 3, 4)) > 0
    assert slice_reached.tolist() == [z <= slices // 2 for z in range(data.shape[2])]


@pytest.mark.parametrize("name", sorted(set(SMALL) - set(PLANE)))
def test_3d_networks_have_no_slices(name):
    with pytest.raises(UserError, match=f"network {name}: .*slices"):
        small(name, slices=3)


@pytest.mark.parametrize("name", DISTINCT)
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_traced(name):
    network = small(name).eval().requires_grad_(False)
    data = image(name)
    traced = torch.jit.trace(network, data, check_trace=False)
    # Other data than that it was traced with: a branch on values would be frozen in the trace.
    another = torch.randn_like(data)
    torch.testing.assert_close(traced(another), network(another))


@pytest.mark.parametrize("name", ["light_unet", "nnunet_3d", "attention_unet_2d", "unet_3d", "pipo_fan"])
def test_exported(name):
    network = small(name).eval().requires_grad_(False)
    exported = torch.export.export(network, (image(name),)).module()
    another = image(name)
    torch.testing.assert_close(exported(another), network(another))


@pytest.mark.parametrize(("name", "arguments", "message"), [
    ("nnunet_3d", {"channels": [4, 6]}, "3 levels or more"),
    ("nnunet_3d", {"strides": [2, 2]}, "expected 5 strides"),
    ("nnunet_3d", {"strides": [[2, 2], 2, 2, 2, 2]}, "expected 3 numbers for each level"),
    ("nnunet_2d", {"kernels": [3]}, "6 kernels"),
    ("nnunet_2d", {"slices": 2}, "slices must be an odd number"),
    ("nnunet_2d", {"axes": 3}, "axes"),
    ("attention_unet_3d", {"channels": [4]}, "2 levels or more"),
    ("unet_plus_plus_2d", {"channels": [4, 4]}, "5 levels"),
    ("deeplabv3plus_resnet50", {"depth": 34}, "depth"),
    ("pipo_fan", {"input_scales": 6}, "input_scales must be from 1 to 5"),
    ("pipo_fan", {"output_scales": 0}, "output_scales must be from 1 to 5"),
    ("pipo_fan", {"phase": "both"}, "phase must be one of deep_supervision, fusion"),
])
def test_wrong_arguments_are_refused(name, arguments, message):
    with pytest.raises(UserError, match=f"network {name}: .*{message}"):
        build_network(name, 1, 3, **arguments)


def test_the_3d_unet_has_the_paper_s_parameters():
    network = UNet3D(3, 3)
    weights = sum(parameter.numel() for parameter in network.parameters() if parameter.ndim > 1)
    biases = sum(module.out_channels for module in network.modules() if type(module) is torch.nn.Conv3d)
    assert weights + biases == 19_069_955


def test_resnets_of_deeplab_have_their_published_parameters():
    """torchvision's ResNet-50 and -101 (He 2016) less their last layer, 2048 x 1000 weights and 1000 biases."""
    for depth, published in ((50, 25_557_032), (101, 44_549_160)):
        network = build_network(f"deeplabv3plus_resnet{depth}", 3, 2).network
        encoder = (*network.stem.parameters(), *network.stages.parameters())
        assert sum(parameter.numel() for parameter in encoder) == published - 2_049_000


def test_monai_is_imported_only_by_networks_that_use_it():
    code = """
import sys
from PartialOrganSegLib.networks import build_network
build_network("light_unet", 1, 2, channels=[4, 6])
build_network("unet_3d", 1, 2, channels=[4, 6])
build_network("pipo_fan", 1, 2, channels=[4, 6], input_scales=2, output_scales=2)
print("monai" in sys.modules)
"""
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert completed.stdout == "False\n"


def test_missing_monai_is_reported(monkeypatch):
    monkeypatch.setitem(sys.modules, "monai", None)
    for name in [module for module in sys.modules if module.startswith("monai.")]:
        monkeypatch.delitem(sys.modules, name)
    message = r"network nnunet_3d: expected the package monai \(pip install monai\), found none"
    with pytest.raises(UserError, match=message):
        small("nnunet_3d")


@pytest.mark.parametrize("name", DISTINCT)
def test_outputs_is_their_number_in_train_mode(name):
    network = small(name)
    assert isinstance(network, SegmentationNetwork)
    logits = network.train()(image(name))
    assert network.outputs == (1 if isinstance(logits, torch.Tensor) else len(logits))


def test_phases_are_checked_and_change_the_outputs():
    plane = small("pipo_fan")
    network = plane.network
    assert network.outputs == plane.outputs == 2
    set_phase(plane, "fusion")
    assert (network.phase, plane.outputs) == ("fusion", 1)
    with pytest.raises(ValueError, match="phase must be one of deep_supervision, fusion, not 'other'"):
        network.phase = "other"
    with pytest.raises(UserError, match="a network that trains in phases"):
        set_phase(small("light_unet"), "fusion")


class FromOutside(torch.nn.Module):
    """Knows nothing of `SegmentationNetwork`."""

    PHASES = ("first", "second")
    size_multiple = (1, 2, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image


def test_a_network_that_is_not_derived_from_ours_works():
    network = FromOutside()
    assert size_multiple_of(network) == (1, 2, 2)
    assert slices_of(network) is None
    assert slices_of(small("pipo_fan")) == 3
    set_phase(network, "second")
    assert network.phase == "second"
    with pytest.raises(UserError, match="one of first, second"):
        set_phase(network, "third")


@pytest.mark.parametrize(("width", "line"), [(4, "at most 20000 layers"), (320, "at most 1073741824 weights")])
def test_nobody_waits_for_a_thousand_million_layers(width, line):
    with pytest.raises(UserError, match=rf"^network nnunet_v2: expected {line}.*, found "):
        build_network("nnunet_v2", 1, 3, features=[width, width], kernels=[[3, 3, 3]] * 2,
                      strides=[[1, 1, 1], [2, 2, 2]], encoder=[2_147_483_648, 1], decoder=[1])
