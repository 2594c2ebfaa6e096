"""The same answer everywhere: precision follows from the model, the processor and the wish, never from a clock."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from PartialOrganSegLib.errors import Problem, UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.segmenting import backend
from PartialOrganSegLib.segmenting.predictor import Predictor
from PartialOrganSegLib.training import trainer
from PartialOrganSegLib.training.recipe import load_recipe
from Testing.helpers.training_data import write_manifest, write_recipe

CPU, GPU = torch.device("cpu"), torch.device("cuda")
SHARE_THAT_MAY_DIFFER = 1e-4


@pytest.mark.parametrize(("wish", "device", "own", "computes", "expected"), [
    ("auto", CPU, "bfloat16", True, torch.bfloat16), ("auto", CPU, "bfloat16", False, torch.float32),
    ("auto", CPU, "float32", True, torch.float32), ("auto", GPU, "float32", False, torch.float16),
    ("float32", CPU, "bfloat16", True, torch.float32), ("bfloat16", CPU, "float32", False, torch.bfloat16),
    ("float32", GPU, "bfloat16", True, torch.float32), ("float16", GPU, "bfloat16", True, torch.float16)])
def test_the_model_the_processor_and_the_wish_decide(monkeypatch, wish, device, own, computes, expected):
    monkeypatch.setattr(backend, "computes_bfloat16", lambda: computes)
    monkeypatch.setattr(time, "perf_counter", lambda: pytest.fail("a clock was asked"))
    assert backend.choose_precision(wish, device, own) == expected


@pytest.mark.parametrize("wish", ["float16", "int8"])
def test_what_a_cpu_has_not_is_refused(wish):
    with pytest.raises(UserError, match=f"precision: expected auto, float32, bfloat16 on cpu, found '{wish}'"):
        backend.choose_precision(wish, CPU, "bfloat16")


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    """A phantom of a CT's size, where thousands of voxels lie on organs' borders."""
    folder = tmp_path_factory.mktemp("phantom")
    _run("phantom", "-o", folder, "--shape", "24,48,60", "--spacing", "6,4.5,4.5", "--seed", "3")
    return next((folder / "images").iterdir())


def _run(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "PartialOrganSegLib", *map(str, words)], check=True, capture_output=True)


def test_threads_and_load_change_nothing(ct, tmp_path):
    """With 1, 2 and 8 threads, and with two beside six busy processes: the labels of the network that ships."""
    busy = "while True: pass"
    for name, threads, others in (("one", 1, 0), ("two", 2, 0), ("eight", 8, 0), ("busy", 2, 6)):
        neighbours = [subprocess.Popen([sys.executable, "-c", busy]) for _ in range(others)]
        try:
            subprocess.run([sys.executable, "-c", f"import torch; torch.set_num_threads({threads})\n"
                            "from PartialOrganSegLib.cli import main; import sys; sys.exit(main(sys.argv[1:]))",
                            "segment", str(ct), "-o", str(tmp_path / name), "--no-preview", "--device", "cpu"],
                           check=True, capture_output=True)
        finally:
            for neighbour in neighbours:
                neighbour.kill()
                neighbour.wait()
    labels = {path.name: read_labelmap(next(path.glob("*.labels.nii.gz"))).array for path in tmp_path.iterdir()}
    assert len(np.unique(labels["one"])) > 3
    for name, found in labels.items():
        assert (found != labels["one"]).mean() <= SHARE_THAT_MAY_DIFFER, name


def test_the_result_says_its_precision(ct):
    bundle = load_bundle("embedded")
    for wish in ("float32", "bfloat16"):
        assert Predictor(bundle, "cpu", precision=wish).predict(read_ct(ct)).precision == wish


class Warnings(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, message: str | Problem) -> None:
        self.lines.append(str(message))


@pytest.mark.parametrize(("half", "computes", "warned"), [(True, False, True), (True, True, False),
                                                          (False, False, False)])
def test_training_in_the_slower_precision_is_told(monkeypatch, tmp_path, half, computes, warned):
    monkeypatch.setattr(trainer, "computes_bfloat16", lambda: computes)
    recipe = load_recipe(write_recipe(tmp_path, write_manifest(tmp_path), steps=1, half_precision=half))
    reporter = Warnings()
    trainer.train(recipe, tmp_path / "run", False, "cpu", reporter)
    assert any("half_precision=false is faster here" in line for line in reporter.lines) is warned
