"""Which precision convolutions run in must not depend on what else the machine does."""

from __future__ import annotations

import pytest
import torch

from PartialOrganSegLib.errors import Problem
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.segmenting import backend
from PartialOrganSegLib.training import trainer
from PartialOrganSegLib.training.recipe import load_recipe
from Testing.helpers.training_data import write_manifest, write_recipe

CPU = torch.device("cpu")


@pytest.mark.parametrize(("bfloat16_s", "float32_s", "expected"),
                         [(0.6, 7.0, torch.bfloat16), (7.0, 7.0, torch.float32), (30.0, 7.0, torch.float32)])
@pytest.mark.parametrize("quiet", range(8))
def test_one_quiet_moment_is_enough(monkeypatch, bfloat16_s, float32_s, expected, quiet):
    """Other load makes all goes but one fifty times slower, each type's at its own time."""
    seconds, goes = {torch.bfloat16: bfloat16_s, torch.float32: float32_s}, {torch.bfloat16: 0, torch.float32: quiet}

    def convolution_s(dtype):
        goes[dtype] += 1
        return seconds[dtype] * (1 if goes[dtype] % 8 == 0 else 50)

    monkeypatch.setattr(backend, "_convolution_s", convolution_s)
    assert backend.fast_dtype(CPU) == expected


def test_here_it_is_always_the_same():
    assert len({backend.fast_dtype(CPU) for _ in range(3)}) == 1


class Warnings(Reporter):
    def __init__(self) -> None:
        self.told: list[str] = []

    def warning(self, message: str | Problem) -> None:
        self.told.append(str(message))


@pytest.mark.parametrize(("half", "fast", "told"), [
    (True, torch.float32, True), (True, torch.bfloat16, False), (False, torch.float32, False)])
def test_training_in_the_slower_precision_is_told(monkeypatch, tmp_path, half, fast, told):
    monkeypatch.setattr(trainer, "fast_dtype", lambda device: fast)
    recipe = load_recipe(write_recipe(tmp_path, write_manifest(tmp_path), steps=1, half_precision=half))
    reporter = Warnings()
    trainer.train(recipe, tmp_path / "run", False, "cpu", reporter)
    assert any("half_precision=false is faster here" in line for line in reporter.told) is told
