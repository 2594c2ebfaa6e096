"""An imported model gives the segmentation that nnU-Net itself gives. Needs nnU-Net; see docs/results/nnunet.md.

    NNUNET_PYTHON=/path/to/python-with-nnunetv2 pytest Testing/segmenting/test_nnunet_peer.py -s
"""

import os
import subprocess
from pathlib import Path

import pytest
import SimpleITK as sitk

from PartialOrganSegLib.formats.reading import read_ct
from PartialOrganSegLib.models.nnunet_import import import_nnunet
from PartialOrganSegLib.segmenting.predictor import Predictor
from Testing.helpers.nnunet_data import PEER_LABELS, phantom_images, turned, write_dataset
from Testing.helpers.repository import ROOT

PYTHON = os.environ.get("NNUNET_PYTHON")
pytestmark = [
    pytest.mark.skipif(not PYTHON, reason="nnU-Net not here: NNUNET_PYTHON names no Python that has nnunetv2"),
    pytest.mark.timeout(3 * 3600)]

# Of two data sets: thick slices, read as stored; and thinner ones, turned to RAS, with nnU-Net's residual encoder.
THICK, RESIDUAL = 901, 902
# Spacing (z, y, x) in mm, order of the axes, and which run backwards: the first is listed as the training files are.
INPUTS = {"as_trained": ((16.0, 4.0, 4.0), (0, 1, 2), (True, True, False)),
          "thinner": ((11.0, 3.5, 3.5), (0, 1, 2), (True, True, False)),
          "turned": ((6.0, 5.0, 5.0), (2, 0, 1), (False, True, True))}
# Both sum in half precision, in another order: a voxel here and there may go either way.
LEAST_DICE = 0.995
LEAST_VOXELS = 50  # of a class that is compared by Dice; fewer count among all that may differ


def peer(*arguments: object) -> None:
    script = ROOT / "Testing" / "peers" / "nnunet_peer.py"
    result = subprocess.run([PYTHON, script, *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained models, by nnU-Net, of both data sets, and CTs that it was not trained on."""
    folder = tmp_path_factory.mktemp("nnunet")
    write_dataset(folder / "raw", THICK, "SimpleITKIO", (16.0, 4.0, 4.0))
    write_dataset(folder / "raw", RESIDUAL, "NibabelIOWithReorient", (7.0, 5.0, 5.0))
    steps = os.environ.get("NNUNET_STEPS", "100")
    peer("train", folder, THICK, "--configurations", "2d", "3d_fullres", "--steps", steps)
    peer("train", folder, RESIDUAL, "--planner", "nnUNetPlannerResEncM", "--steps", steps)
    (folder / "images").mkdir()
    for seed, (name, (spacing, order, flips)) in enumerate(INPUTS.items(), 11):
        sitk.WriteImage(turned(phantom_images(seed, spacing)[0], order, flips), folder / f"images/{name}_0000.nii.gz")
    return folder


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(("dataset", "model"), [(THICK, "nnUNetPlans__2d"), (THICK, "nnUNetPlans__3d_fullres"),
                                                (RESIDUAL, "nnUNetResEncUNetMPlans__3d_fullres")])
def test_same_segmentation(work: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dataset: int, model: str,
                           mirror: bool) -> None:
    monkeypatch.setenv("PARTIALORGANSEG_MODELS", str(tmp_path / "models"))
    results = work / f"results/Dataset{dataset}_phantoms/nnUNetTrainer__{model}"
    peer("predict", results, work / "images", tmp_path / "theirs", *(["--mirror"] if mirror else []))
    predictor = Predictor(import_nnunet(results), device="cpu", mirror=mirror)
    compared = set()
    for name in INPUTS:
        theirs = sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / f"theirs/{name}.nii.gz"))
        ours = predictor.predict(read_ct(work / f"images/{name}_0000.nii.gz")).labels.array
        assert (ours != theirs).mean() < 1e-3
        for label, value in PEER_LABELS.items():
            voxels = int((theirs == value).sum())
            if voxels < LEAST_VOXELS:
                continue
            dice = 2 * ((ours == value) & (theirs == value)).sum() / ((ours == value).sum() + voxels)
            print(f"{model} mirror={mirror} {name} {label}: Dice {dice:.5f} of {voxels} voxels")
            assert dice >= LEAST_DICE, (name, label)
            compared.add(label)
    assert compared - {"background"}, "nnU-Net's own segmentation is too empty to compare with"
