"""The whole way in processes of their own: a synthetic CT, a model folder, a segmentation on the CT's grid."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from PartialOrganSegLib.models.bundle import Preprocessing
from PartialOrganSegLib.models.bundle_writing import write_bundle
from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.organs import WORD16
from Testing.helpers import ready_python


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    """A model folder with random weights: what it says is nonsense, but it is said on the right grid."""
    network = build_network("light_unet", 1, WORD16.class_count)
    bundle = write_bundle(
        tmp_path / "untrained", network, "light_unet", {}, WORD16,
        Preprocessing(spacing_zyx=(12.0, 12.0, 12.0), clip_hu=(-200.0, 300.0), subtract=0.0, divide=100.0,
                      patch_zyx=(16, 16, 16)),
        name="untrained", version="0", licences={"code": "Apache-2.0", "weights": "none", "data": "none"},
        training_data=[], metrics={}, description="random weights")
    return bundle.folder


def partialorganseg(*words: object) -> subprocess.CompletedProcess[str]:
    command = [ready_python.program(), "-m", "PartialOrganSegLib", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_phantom_is_segmented_on_its_grid(tmp_path, untrained):
    phantom = partialorganseg("phantom", "-o", tmp_path / "größe", "--shape", "30,40,48", "--spacing", "7,5,5")
    assert phantom.returncode == 0, phantom.stderr
    ct = tmp_path / "größe" / "images" / "phantom_0.nii.gz"
    completed = partialorganseg("segment", ct, "-o", tmp_path / "out", "--model", untrained, "--device", "cpu",
                           "--json-events")
    assert completed.returncode == 0, completed.stderr
    events = [json.loads(line) for line in completed.stdout.splitlines()]
    assert events[0]["event"] == "started"
    result = next(event for event in events if event["event"] == "result")
    assert [row["organ"] for row in result["organs"]] == list(WORD16.names)
    labels = read_labelmap(result["files"]["labelmap"])
    assert labels.grid.same_as(read_ct(ct).grid)
    assert labels.array.max() < WORD16.class_count


def test_damaged_model_is_refused_before_anything_is_written(tmp_path, untrained):
    weights = untrained / "models" / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    # One bit: the file can be read as well as before.
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    completed = partialorganseg("segment", "ct.nii.gz", "-o", tmp_path / "out", "--model", untrained)
    assert completed.returncode == 1
    line, = completed.stderr.splitlines()
    assert "wrong checksum" in line
    assert not (tmp_path / "out").exists()
