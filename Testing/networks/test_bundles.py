"""2D and 2.5D networks in a model bundle, through the same engine as 3D ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from torch import nn

from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.formats.writing import write_labelmap
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.models.bundle import Bundle, Preprocessing, load_bundle
from PartialOrganSegLib.models.bundle_writing import write_bundle
from PartialOrganSegLib.networks import SliceWise, build_network
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting import window_layout, windows
from PartialOrganSegLib.segmenting.folding import fold_batch_norm
from PartialOrganSegLib.segmenting.predictor import Predictor
from PartialOrganSegLib.synthesis.phantom import make_phantom

# Coarse voxels: with random weights only the way through the engine is tested, in seconds.
PREPROCESSING = Preprocessing((12.0, 9.0, 9.0), (-200.0, 300.0), 50.0, 100.0, (8, 32, 32))
LICENCES = {"code": "Apache-2.0", "weights": "none, random", "data": "none"}
NETWORKS = {
    "2d": ("nnunet_2d", {"channels": [4, 6, 8], "slices": 1}),
    "2.5d": ("pipo_fan", {"channels": [8, 8], "input_scales": 2, "output_scales": 2, "slices": 3}),
    "3d": ("nnunet_3d", {"channels": [4, 6, 8], "strides": [[1, 2, 2], 2]}),
}


@pytest.fixture(scope="module")
def ct() -> Volume:
    return make_phantom((40, 36, 48), (12.0, 9.0, 9.0))[0]


def bundle(folder: Path, kind: str) -> Bundle:
    name, arguments = NETWORKS[kind]
    torch.manual_seed(0)
    network = build_network(name, 1, WORD16.class_count, **arguments)
    return write_bundle(folder, network, name, arguments, WORD16, PREPROCESSING, "random", "1.0.0", LICENCES, [], {},
                        "Random weights.")


@pytest.mark.parametrize("kind", NETWORKS)
def test_bundle_segments(kind, ct, tmp_path):
    written = bundle(tmp_path / "model ä", kind)
    prediction = Predictor(load_bundle(written.folder), device="cpu", mirror=True).predict(ct)
    assert prediction.labels.grid == ct.grid
    assert prediction.labels.array.dtype == np.uint8
    assert 0 < len(np.unique(prediction.labels.array)) <= WORD16.class_count
    assert prediction.labels.array.any()


def test_monai_runs_the_bundle_of_a_25d_network(ct, tmp_path):
    monai_bundle = pytest.importorskip("monai.bundle")
    written = bundle(tmp_path / "model", "2.5d")
    image, output = tmp_path / "ct.nii.gz", tmp_path / "labels.nii.gz"
    # Written with SimpleITK alone: the CT must not depend on our own writer.
    write_ct(image, ct)
    monai_bundle.run(config_file=str(written.folder / "configs/inference.json"), image=str(image), output=str(output),
                     bundle_root=str(written.folder), device="cpu")
    ours = tmp_path / "ours.nii.gz"
    write_labelmap(ours, Predictor(written, device="cpu").predict(ct).labels)
    labels, expected = (sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in (output, ours))
    assert labels.any()
    np.testing.assert_array_equal(labels, expected)


def write_ct(path: Path, ct: Volume) -> None:
    image = sitk.GetImageFromArray(ct.array)
    image.SetSpacing(ct.grid.spacing)
    image.SetOrigin(ct.grid.origin)
    image.SetDirection(ct.grid.direction)
    sitk.WriteImage(image, str(path))


class Mean(nn.Module):
    """Logits of a slice: its neighbourhood's mean, and 0."""

    size_multiple = (1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        mean = image.mean(1, keepdim=True)
        return torch.cat([torch.zeros_like(mean), mean], dim=1)


@pytest.mark.parametrize("slices", [1, 3, 5])
@pytest.mark.parametrize("depth", [1, 8, 9, 11, 30, 47])
def test_slices_see_their_neighbours_across_windows(slices, depth, monkeypatch):
    monkeypatch.setattr(window_layout, "SLICE_WINDOW", 8)
    network = SliceWise(Mean(), slices).eval()
    volume = torch.rand(depth, 4, 4, generator=torch.Generator().manual_seed(0))
    depths = []

    def forward(window: torch.Tensor) -> torch.Tensor:
        depths.append(window.shape[2])
        return network(window)[0].permute(1, 2, 3, 0)

    layout = window_layout.plan((depth, 4, 4), (3, 4, 4), network.size_multiple, slices)
    scores = windows.window_scores(volume, 0.0, layout, 2, forward, Reporter())
    expected = network(volume[None, None])[0].permute(1, 2, 3, 0)
    torch.testing.assert_close(scores.float(), expected, rtol=0, atol=1e-3)
    # The window is at least twice as deep as the neighbourhood; each shares `slices - 1` slices with the next.
    window = max(8, 2 * slices)
    assert len(depths) == max(1, -(-(depth - window) // (window - slices + 1)) + 1)


@pytest.mark.parametrize(("name", "arguments"), [
    ("deeplabv3plus_resnet50", {"width": 2, "features": 8, "slices": 3}),
    ("pipo_fan", {"channels": [8, 8, 8], "input_scales": 3, "output_scales": 3}),
    ("attention_unet_3d", {"channels": [4, 6]}), ("unet_3d", {"channels": [4, 6]})])
def test_batch_norms_fold_into_2d_and_3d_convolutions(name, arguments):
    torch.manual_seed(0)
    network = build_network(name, 1, 3, **arguments)
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            # Fresh norms change nothing, and folding them wrongly would not show.
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
    network.eval()
    folded = fold_batch_norm(network, tuple(2 * unit for unit in network.size_multiple))

    def norms(module: nn.Module) -> int:
        return sum(isinstance(part, (nn.BatchNorm2d, nn.BatchNorm3d)) for part in module.modules())

    assert norms(folded) < norms(network)
    data = torch.randn(1, 1, *(3 * unit for unit in network.size_multiple))
    torch.testing.assert_close(folded(data), network(data), rtol=1e-3, atol=1e-3)
