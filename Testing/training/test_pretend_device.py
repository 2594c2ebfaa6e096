"""Training and segmenting keep their tensors on the device that was chosen: run on a pretend one, which refuses to mix
them with the CPU's. Nothing else here runs on another device than the CPU."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from PartialOrganSegLib.formats.reading import read_labelmap
from Testing.helpers import ready_python
from Testing.helpers.repository import ROOT

MIXED = """
import torch
from Testing.helpers.pretend_device import register
register()
here, there = torch.ones(2), torch.ones(2).to("pretend")
assert there.device.type == (there * 2 + torch.tensor(1.0)).device.type == "pretend"
assert (there + 1).cpu().tolist() == [2, 2] and torch.zeros(3, device="pretend")[torch.tensor([1])].numel() == 1
for wrong in (lambda: there + here, lambda: torch.cat([here, there]), lambda: here.add_(there),
              lambda: torch.nn.functional.linear(there, torch.ones(1, 2))):
    try:
        wrong()
    except RuntimeError as error:
        assert "same device" in str(error)
    else:
        raise AssertionError("mixed")
"""


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    """Skips where this PyTorch has no devices made in Python."""
    if not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip(f"PyTorch {torch.__version__} has no devices made in Python")


def python(*arguments: str) -> None:
    """Runs a Python of its own: a device is registered for good."""
    completed = subprocess.run([ready_python.program(), *arguments], capture_output=True, text=True, timeout=600,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT)
    assert completed.returncode == 0, completed.stderr[-3000:]


def test_the_pretend_device_does_not_mix():
    python("-c", MIXED)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What fine-tuning leaves on either device."""
    folder = tmp_path_factory.mktemp("devices")
    python("-m", "Testing.helpers.on_pretend_device", str(folder))
    return {device: folder / device for device in ("cpu", "pretend")}


@pytest.mark.parametrize("kind", ["partial", "scribble"])
def test_fine_tuning_and_segmenting_stay_on_the_device(folders, kind):
    """The same numbers come out, since the pretend device computes as the CPU does."""
    models = [folder / f"{kind} run" / "model" for folder in folders.values()]
    weights = [load_file(next(model.rglob("*.safetensors"))) for model in models]
    for name, value in weights[0].items():
        # Not bit for bit: the two devices sum in another order, and AdamW makes whole steps of the smallest gradients.
        difference = torch.linalg.vector_norm(weights[1][name].float() - value.float())
        assert difference <= 0.02 * torch.linalg.vector_norm(value.float()), name
    labels = [read_labelmap(folder / f"{kind}.nii.gz").array for folder in folders.values()]
    # Two empty label maps would be equal, too.
    assert len(set(labels[0].ravel())) > 1
    # Of a network that learnt for a few steps the two likeliest classes of many a voxel are nearly equal.
    assert (labels[0] == labels[1]).mean() > 0.98
