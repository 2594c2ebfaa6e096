"""Settings of the process change how fast the command is, and nothing of what it does."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from PartialOrganSegLib.models.bundle import Preprocessing
from PartialOrganSegLib.models.bundle_writing import write_bundle
from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.process_settings import WAIT_POLICY, ask_for_large_pages
from Testing.helpers.repository import ROOT

VARIABLE = "THP_MEM_ALLOC_ENABLE"


def test_a_users_choice_of_pages_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    ask_for_large_pages()
    assert os.environ[VARIABLE] == "1"
    monkeypatch.setenv(VARIABLE, "0")
    ask_for_large_pages()
    assert os.environ[VARIABLE] == "0"


@pytest.mark.skipif(sys.platform != "linux", reason="OpenMP of Linux")
@pytest.mark.parametrize(("choice", "policy"), [(None, "PASSIVE"), ("active", "ACTIVE")])
def test_threads_sleep_while_they_wait(choice: str | None, policy: str) -> None:
    """As OpenMP itself says when the command has loaded it."""
    environment = {name: value for name, value in os.environ.items() if name != WAIT_POLICY}
    if choice is not None:
        environment[WAIT_POLICY] = choice
    printed = subprocess.run([sys.executable, "-m", "PartialOrganSegLib", "doctor"], cwd=ROOT, capture_output=True,
                             env={**environment, "OMP_DISPLAY_ENV": "true"}, check=False).stderr
    assert f"{WAIT_POLICY} = '{policy}'".encode() in printed


def test_labels_are_the_same_whatever_the_pages(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    array = np.full((24, 48, 48), -1000, np.int16)
    array[4:20, 8:40, 8:40] = rng.normal(40, 120, (16, 32, 32))
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((4.0, 4.0, 6.0))
    sitk.WriteImage(image, str(tmp_path / "ct.nii.gz"))
    torch.manual_seed(0)
    network = build_network("light_unet", 1, WORD16.class_count, channels=[4, 8])
    # Tensors of 2 MB and more, which is where pages matter.
    write_bundle(tmp_path / "model", network, "light_unet", {"channels": [4, 8]}, WORD16,
                 Preprocessing((3.0, 2.0, 2.0), (-200.0, 300.0), 50.0, 100.0, (48, 96, 96)), "small", "1.0.0",
                 {"code": "Apache-2.0", "weights": "none", "data": "none"}, [], {}, "Small.")
    command = [sys.executable, "-m", "PartialOrganSegLib", "segment", tmp_path / "ct.nii.gz", "--device", "cpu",
               "--model", tmp_path / "model", "-o"]
    labels = []
    for choice in ("0", "1"):
        subprocess.run([*command, tmp_path / f"{choice}.nii.gz"], check=True, cwd=ROOT,
                       env={**os.environ, VARIABLE: choice})
        labels.append(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"{choice}.nii.gz"))))
    assert labels[0].any()
    np.testing.assert_array_equal(labels[0], labels[1])


def test_the_collector_of_a_caller_stays_as_it_is() -> None:
    """Only a process of the command's own is set up for its sake."""
    from PartialOrganSegLib.cli import main

    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    assert main(["list", "losses"]) == 0
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, frozen)
