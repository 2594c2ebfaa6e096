"""Pre-trained ResNet weights from a file: every part in its place, grey images seen alike, and nothing run."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.networks.backbones import load_backbone
from PartialOrganSegLib.organs import SHI5
from PartialOrganSegLib.training.distributed import Processes
from PartialOrganSegLib.training.recipe import load_recipe
from PartialOrganSegLib.training.start import build_start

SMALL = {"width": 4, "features": 8}


def torchvision_weights(channels: int = 3) -> dict[str, torch.Tensor]:
    """A ResNet-50's tensors with a sixteenth of the channels, under torchvision's names, made without this package."""
    generator = torch.Generator().manual_seed(0)

    def norm(name: str, size: int) -> dict[str, torch.Tensor]:
        return {f"{name}.weight": torch.rand(size, generator=generator) + 0.5,
                f"{name}.bias": torch.rand(size, generator=generator), f"{name}.running_mean": torch.zeros(size),
                f"{name}.running_var": torch.ones(size), f"{name}.num_batches_tracked": torch.tensor(3)}

    def convolution(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * 0.1

    # Written from torchvision's published layout, so that a wrong name here and in the package cannot agree.
    weights = {"conv1.weight": convolution(4, channels, 7, 7), **norm("bn1", 4)}
    inputs = 4
    for layer, (blocks, width) in enumerate(zip((3, 4, 6, 3), (4, 8, 16, 32), strict=True), 1):
        for block in range(blocks):
            name = f"layer{layer}.{block}"
            sizes = ((width, inputs, 1, 1), (width, width, 3, 3), (width * 4, width, 1, 1))
            for number, shape in enumerate(sizes, 1):
                weights[f"{name}.conv{number}.weight"] = convolution(*shape)
                weights |= norm(f"{name}.bn{number}", shape[0])
            if block == 0:
                weights[f"{name}.downsample.0.weight"] = convolution(width * 4, inputs, 1, 1)
                weights |= norm(f"{name}.downsample.1", width * 4)
            inputs = width * 4
    return weights | {"fc.weight": torch.zeros(10, 128), "fc.bias": torch.zeros(10)}


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_every_weight_goes_to_its_place(tmp_path: Path, ending: str):
    weights = torchvision_weights()
    file = tmp_path / f"resnet.{ending}"
    if ending == "pth":
        # As DataParallel and many training scripts save.
        torch.save({"state_dict": {f"module.{name}": value for name, value in weights.items()}}, file)
    else:
        save_file(weights, file)
    network = build_network("deeplabv3plus_resnet50", 1, 6, **SMALL)
    assert load_backbone(network, file) == len(weights) - 2  # all but the classifier
    inner = network.network
    assert torch.equal(inner.stages[2][5].conv2.weight, weights["layer3.5.conv2.weight"])
    assert torch.equal(inner.stages[0][0].downsample[0].weight, weights["layer1.0.downsample.0.weight"])
    assert torch.equal(inner.stem[1].bias, weights["bn1.bias"])
    # A grey image in three channels and in one give the same.
    grey = torch.rand(1, 1, 32, 32)
    three = torch.nn.functional.conv2d(grey.expand(-1, 3, -1, -1), weights["conv1.weight"], stride=2, padding=3)
    assert torch.allclose(inner.stem[0](grey), three, atol=1e-5)


def test_the_recipe_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    torch.save(torchvision_weights(), tmp_path / "resnet50.pth")
    recipe = load_recipe("pann_2d", ["network.backbone_weights=resnet50.pth",
                                     "network.arguments={width: 4, features: 8}",
                                     "preprocessing.patch_zyx=[1, 32, 32]"])
    start = build_start(recipe, SHI5, torch.device("cpu"), Processes(), Reporter())
    expected = torchvision_weights()["layer4.2.conv3.weight"]
    assert torch.equal(start.network.network.stages[3][2].conv3.weight.contiguous(), expected)


class Harmful:
    def __reduce__(self):
        return print, ("run",)


def test_unfit_files_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    network = build_network("deeplabv3plus_resnet50", 1, 6, **SMALL)
    weights = torchvision_weights()
    torch.save(Harmful(), tmp_path / "harmful.pth")
    with pytest.raises(UserError, match="expected tensors only, found a file that has to be unpickled"):
        load_backbone(network, tmp_path / "harmful.pth")
    assert "run" not in capsys.readouterr().out
    # A pickle that torch did not write.
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UserError, match=r"plain\.pth"):
        load_backbone(network, tmp_path / "plain.pth")
    torch.save({name: value for name, value in weights.items() if not name.startswith("layer4")}, tmp_path / "few.pth")
    with pytest.raises(UserError, match=r"few.pth: expected weights of stages\.3\.0.*, found none"):
        load_backbone(network, tmp_path / "few.pth")
    torch.save(weights | {"layer1.0.conv1.weight": torch.zeros(8, 4, 1, 1)}, tmp_path / "wide.pth")
    with pytest.raises(UserError, match=r"layer1.0.conv1.weight: expected \(4, 4, 1, 1\), found \(8, 4, 1, 1\)"):
        load_backbone(network, tmp_path / "wide.pth")
    with pytest.raises(UserError, match=r"expected a network with a ResNet encoder .*, found LightUNet"):
        load_backbone(build_network("light_unet", 1, 6), tmp_path / "few.pth")


@pytest.mark.parametrize(("name", "parameters"), [
    ("deeplabv3_resnet18", 11_176_512), ("deeplabv3plus_resnet50", 23_508_032),
    ("deeplabv3plus_resnet101", 42_500_160)])
def test_the_encoders_have_as_many_parameters_as_torchvisions(name, parameters):
    """torchvision's resnet18, resnet50 and resnet101 without their classifiers of 1000 classes."""
    network = build_network(name, 1, 6, slices=3).network
    encoder = sum(value.numel() for key, value in network.named_parameters() if key.startswith(("stem.", "stages.")))
    assert encoder == parameters
