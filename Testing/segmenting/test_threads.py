"""Windows get a thread each: as many as cores are free, some on busy ones, never more than was allowed."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.models.bundle import Preprocessing
from PartialOrganSegLib.models.bundle_writing import write_bundle
from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting import cores as module
from PartialOrganSegLib.segmenting.cores import Threads
from PartialOrganSegLib.segmenting.predictor import Predictor


class OtherPrograms:
    """A machine on which other programs keep so many cores busy."""

    def __init__(self, cores: float) -> None:
        self.cores = cores

    def cores_of_others(self) -> float:
        return self.cores


@pytest.mark.parametrize(("cores", "usable", "busy", "limit", "expected"), [
    (8, 8, 0.0, 8, (8, 8)), (8, 8, 0.0, 2, (2, 2)), (8, 8, 3.0, 8, (5, 5)), (8, 8, 7.0, 8, (1, 4)),
    (2, 2, 1.0, 2, (1, 2)), (2, 2, 4.0, 2, (1, 2)), (2, 2, 4.0, 1, (1, 1)), (2, 2, 0.3, 2, (2, 2)),
    (64, 4, 50.0, 4, (4, 4)), (64, 2, 62.4, 4, (2, 2))])
def test_a_thread_a_free_core_and_some_windows_on_busy_ones(monkeypatch, cores, usable, busy, limit, expected):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(module, "usable_cores", lambda: usable)
    assert module.choose_threads(OtherPrograms(busy), limit) == Threads(*expected)


def test_load_is_that_of_others(monkeypatch):
    """Of two cores' time, this process had half a core and what gives way (nice) does not count."""
    # The two readings are 2 s apart: user 3.0, system 0.5 and nice 3.0 s went by, of which 1.0 s were this process's.
    clock, own_seconds = iter([0.0, 2.0, 2.0, 2.0]), iter([5.0, 6.0, 6.0])
    system_times = iter([(100.0, 10.0, 50.0), (103.0, 10.5, 53.0), (103.0, 10.5, 53.0)])

    def times() -> SimpleNamespace:
        user, system, nice = next(system_times)
        return SimpleNamespace(user=user, system=system, nice=nice, irq=0.0, softirq=0.0)

    monkeypatch.setattr(module.psutil, "cpu_times", times)
    monkeypatch.setattr(module.time, "process_time", lambda: next(own_seconds))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    assert module.Load().cores_of_others() == pytest.approx((3.5 - 1.0) / 2.0)


@pytest.mark.parametrize(("version", "text", "expected"), [
    (2, "150000 100000\n", 1.5), (2, "max 100000\n", None), (1, "300000\n", 3.0), (1, "-1\n", None), (0, "", None)])
def test_a_containers_quota_counts(monkeypatch, tmp_path, version, text, expected):
    files = [tmp_path / "cpu.max", tmp_path / "quota"]
    if version:
        # Version 2 of control groups writes quota and period into one file, version 1 into two.
        files[2 - version].write_text(text)
    (tmp_path / "period").write_text("100000\n")
    monkeypatch.setattr(module, "QUOTAS", tuple(files))
    monkeypatch.setattr(module, "PERIOD", tmp_path / "period")
    assert module._quota() == expected


@pytest.fixture
def bundle(tmp_path):
    torch.manual_seed(0)
    network = build_network("light_unet", 1, WORD16.class_count, channels=[4, 8], norm="batch")
    return write_bundle(tmp_path / "model", network, "light_unet", {"channels": [4, 8], "norm": "batch"}, WORD16,
                        Preprocessing((5.0, 5.0, 5.0), (-200.0, 300.0), 50.0, 100.0, (16, 32, 32), fitted=1.0),
                        "small", "1.0.0", {"code": "Apache-2.0", "weights": "none", "data": "none"}, [], {}, "Small.")


CT = Volume(np.random.default_rng(0).normal(0, 100, (40, 60, 70)).astype(np.int16), Grid((70, 60, 40), (5.0, 5.0, 5.0)))


def test_every_window_has_one_thread_and_several_are_computed_at_a_time(monkeypatch, bundle):
    """And afterwards the caller's number of threads is back."""
    monkeypatch.setattr("PartialOrganSegLib.segmenting.predictor.choose_threads", lambda *_: Threads(windows=3))
    predictor = Predictor(bundle, "cpu")
    during, running, together = [], [], []

    def begins(*_: object) -> None:
        running.append(1)
        during.append(torch.get_num_threads())
        together.append(len(running))
        # Long enough that windows which may run together do.
        time.sleep(0.01)

    predictor._method.network.register_forward_pre_hook(begins)
    predictor._method.network.register_forward_hook(lambda *_: running.pop() and None)
    before = torch.get_num_threads()
    predictor.predict(CT)
    assert len(during) > 8
    assert set(during) == {1}
    assert max(together) == 3
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_labels_are_the_same_however_many_work(monkeypatch, bundle, precision):
    labels = []
    for workers in (1, 2, 8):
        chosen = Threads(windows=workers)
        monkeypatch.setattr("PartialOrganSegLib.segmenting.predictor.choose_threads", lambda *_, n=chosen: n)
        labels.append(Predictor(bundle, "cpu", precision=precision).predict(CT).labels.array)
    assert len(np.unique(labels[0])) > 2
    for later in labels[1:]:
        np.testing.assert_array_equal(later, labels[0])


def test_an_error_in_a_window_ends_the_prediction(monkeypatch, bundle):
    monkeypatch.setattr("PartialOrganSegLib.segmenting.predictor.choose_threads", lambda *_: Threads(windows=2))
    predictor = Predictor(bundle, "cpu")
    calls = []

    def fails(*_: object) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("no memory")

    predictor._method.network.register_forward_pre_hook(fails)
    with pytest.raises(RuntimeError, match="no memory"):
        predictor.predict(CT)
    # The other windows of the CT are not begun.
    assert len(calls) < 8
