"""The network gets a thread a free core: never one that a neighbour holds, never more than was allowed."""

from __future__ import annotations

import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.models.bundle import Preprocessing, load_bundle, write_bundle
from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting import threads as module
from PartialOrganSegLib.segmenting.predictor import Predictor


class Others:
    """A machine on which other programs keep so many cores busy."""

    def __init__(self, cores: float) -> None:
        self.cores = cores

    def others(self) -> float:
        return self.cores


@pytest.mark.parametrize(("cores", "usable", "busy", "most", "expected"), [
    (8, 8, 0.0, 8, 8), (8, 8, 0.0, 2, 2), (8, 8, 3.0, 8, 5), (2, 2, 1.0, 2, 1), (2, 2, 4.0, 2, 1), (2, 2, 0.3, 2, 2),
    (64, 4, 50.0, 4, 4), (64, 4, 62.4, 4, 2)])
def test_a_thread_a_free_core(monkeypatch, cores, usable, busy, most, expected):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(module, "usable_cores", lambda: usable)
    assert module.network_threads(Others(busy), most) == expected


def test_load_is_that_of_others(monkeypatch):
    """Of two cores' time, this process had half a core and what gives way (nice) does not count."""
    clock, own = iter([0.0, 2.0, 2.0, 2.0]), iter([5.0, 6.0, 6.0])
    used = iter([(100.0, 10.0, 50.0), (103.0, 10.5, 53.0), (103.0, 10.5, 53.0)])

    def times() -> SimpleNamespace:
        user, system, nice = next(used)
        return SimpleNamespace(user=user, system=system, nice=nice, irq=0.0, softirq=0.0)

    monkeypatch.setattr(module.psutil, "cpu_times", times)
    monkeypatch.setattr(module.time, "process_time", lambda: next(own))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    assert module.Load().others() == pytest.approx((3.5 - 1.0) / 2.0)


@pytest.mark.parametrize(("version", "text", "expected"), [
    (2, "150000 100000\n", 1.5), (2, "max 100000\n", None), (1, "300000\n", 3.0), (1, "-1\n", None), (0, "", None)])
def test_a_containers_quota_counts(monkeypatch, tmp_path, version, text, expected):
    files = [tmp_path / "cpu.max", tmp_path / "quota"]
    if version:
        files[2 - version].write_text(text)
    (tmp_path / "period").write_text("100000\n")
    monkeypatch.setattr(module, "QUOTAS", tuple(files))
    monkeypatch.setattr(module, "PERIOD", tmp_path / "period")
    assert module._quota() == expected


def test_only_the_network_has_several_threads(monkeypatch, tmp_path):
    """And afterwards the caller's number is back."""
    monkeypatch.setattr(module, "network_threads", lambda load, most: 3)
    monkeypatch.setattr("PartialOrganSegLib.segmenting.predictor.network_threads", lambda load, most: 3)
    network = build_network("light_unet", 1, WORD16.class_count, channels=[4, 8], norm="batch")
    write_bundle(tmp_path / "model", network, "light_unet", {"channels": [4, 8], "norm": "batch"}, WORD16,
                 Preprocessing((5.0, 5.0, 5.0), (-200.0, 300.0), 50.0, 100.0, (16, 32, 32)), "small", "1.0.0",
                 {"code": "Apache-2.0", "weights": "none", "data": "none"}, [], {}, "Small.")
    predictor = Predictor(load_bundle(tmp_path / "model"), "cpu")
    during = []
    predictor._method.network.register_forward_pre_hook(lambda *_: during.append(torch.get_num_threads()))
    monkeypatch.setattr("PartialOrganSegLib.segmenting.bundle_predictor.finish",
                        lambda scores, *_: (during.append(torch.get_num_threads()), np.zeros((20, 40, 40), np.uint8))
                        and (np.zeros((20, 40, 40), np.uint8), {}))
    before = torch.get_num_threads()
    predictor.predict(Volume(np.zeros((20, 40, 40), np.int16), Grid((40, 40, 20), (5.0, 5.0, 5.0))))
    assert set(during[:-1]) == {3}
    assert during[-1] == 1
    assert torch.get_num_threads() == before
