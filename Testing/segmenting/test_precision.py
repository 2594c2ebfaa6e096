"""The same answer everywhere: precision follows from the model, the processor and the wish, never from a clock."""

from __future__ import annotations

import os
import subprocess
import time

import numpy as np
import pytest
import torch

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from PartialOrganSegLib.formats.writing import write_ct
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.segmenting import backend
from PartialOrganSegLib.segmenting.predictor import Predictor
from PartialOrganSegLib.synthesis.phantom import make_phantom
from PartialOrganSegLib.training import trainer, training_step
from PartialOrganSegLib.training.recipe import load_recipe
from Testing.helpers import ready_python
from Testing.helpers.listener import Listener
from Testing.helpers.training_data import write_manifest, write_recipe

CPU, GPU = torch.device("cpu"), torch.device("cuda")
# Sums in another order differ in their last bit, which decides a voxel at a border now and then.
SHARE_THAT_MAY_DIFFER = 1e-4


@pytest.mark.parametrize(("wish", "device", "of_model", "computes", "expected"), [
    ("auto", CPU, "bfloat16", True, torch.bfloat16), ("auto", CPU, "bfloat16", False, torch.float32),
    ("auto", CPU, "float32", True, torch.float32), ("auto", GPU, "float32", False, torch.float16),
    ("float32", CPU, "bfloat16", True, torch.float32), ("bfloat16", CPU, "float32", False, torch.bfloat16),
    ("float32", GPU, "bfloat16", True, torch.float32), ("float16", GPU, "bfloat16", True, torch.float16)])
def test_the_model_the_processor_and_the_wish_decide(monkeypatch, wish, device, of_model, computes, expected):
    monkeypatch.setattr(backend, "computes_bfloat16", lambda: computes)
    monkeypatch.setattr(time, "perf_counter", lambda: pytest.fail("a clock was asked"))
    assert backend.choose_precision(wish, device, of_model) == expected


@pytest.mark.parametrize("wish", ["float16", "int8"])
def test_a_precision_that_a_cpu_lacks_is_refused(wish):
    with pytest.raises(UserError, match=f"precision: expected auto, float32, bfloat16 on cpu, found '{wish}'"):
        backend.choose_precision(wish, CPU, "bfloat16")


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    """The file of a phantom around liver and spleen, where thousands of voxels lie on organs' borders."""
    path = tmp_path_factory.mktemp("phantom") / "ct.nii.gz"
    write_ct(path, make_phantom((16, 32, 44), (6.0, 4.5, 4.5), seed=3)[0])
    return path


# One process for all runs: starting it takes as long as segmenting.
SEGMENT_IN_TURN = """
import subprocess
import sys

import torch

from PartialOrganSegLib.cli import main

image, folder, neighbours = sys.argv[1:]
for name, threads, neighbour_count in (("one", 1, 0), ("two", 2, 0), ("eight", 8, 0), ("busy", 2, int(neighbours))):
    torch.set_num_threads(threads)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(neighbour_count)]
    try:
        code = main(["segment", image, "-o", f"{folder}/{name}", "--no-preview", "--device", "cpu"])
    finally:
        for neighbour in busy:
            neighbour.kill()
            neighbour.wait()
    assert code == 0
    assert torch.get_num_threads() == threads
"""


def test_threads_and_load_change_nothing(ct, tmp_path):
    """With 1, 2 and 8 threads, and with two beside busy processes: the labels of the network that ships."""
    # As many as there are processors to be fought for: more would only keep the other tests waiting.
    neighbours = min(6, os.cpu_count() or 1)
    completed = subprocess.run([ready_python.program(), "-c", SEGMENT_IN_TURN, str(ct), str(tmp_path), str(neighbours)],
                               capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr[-2000:]
    labels = {path.name: read_labelmap(next(path.glob("*.labels.nii.gz"))).array for path in tmp_path.iterdir()}
    assert set(labels) == {"one", "two", "eight", "busy"}
    assert len(np.unique(labels["one"])) > 3
    for name, array in labels.items():
        assert (array != labels["one"]).mean() <= SHARE_THAT_MAY_DIFFER, name


def test_the_result_says_its_precision(ct):
    phantom = read_ct(ct)
    small = Volume(phantom.array[:8, :16, :16], Grid((16, 16, 8), phantom.grid.spacing))
    bundle = load_bundle("embedded")
    for wish in ("float32", "bfloat16"):
        assert Predictor(bundle, "cpu", precision=wish).predict(small).precision == wish


@pytest.mark.parametrize(("half", "computes", "warned"), [(True, False, True), (True, True, False),
                                                          (False, False, False)])
def test_training_in_the_slower_precision_is_reported(monkeypatch, tmp_path, half, computes, warned):
    monkeypatch.setattr(trainer, "computes_bfloat16", lambda: computes)
    recipe = load_recipe(write_recipe(tmp_path, write_manifest(tmp_path), steps=1, half_precision=half))
    listener = Listener()
    trainer.train(recipe, tmp_path / "run", False, "cpu", listener)
    assert any("trained in float32, which is faster here" in line for line in listener.warnings) is warned


@pytest.mark.parametrize(("half", "device", "computes", "kind"), [
    (True, "cpu", True, torch.bfloat16), (True, "cpu", False, torch.float32), (False, "cpu", True, torch.float32),
    (True, "cuda", False, torch.bfloat16), ("float16", "cuda", False, torch.float16)])
def test_what_a_recipe_trains_in(monkeypatch, half, device, computes, kind):
    monkeypatch.setattr(training_step, "computes_bfloat16", lambda: computes)
    assert training_step.precision_of(half, torch.device(device)) is kind
