"""Loader processes that die, or lack shared memory or files, end the run with one line, and none stays behind."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.errors import Code, UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.training.batches import patches
from PartialOrganSegLib.training.cases import read_cases
from PartialOrganSegLib.training.loader_processes import loaded_batches
from PartialOrganSegLib.training.recipe import load_recipe
from Testing.helpers.repository import ROOT
from Testing.helpers.training_data import write_manifest, write_recipe
from Testing.helpers.training_runs import AtStep, equal_weights, run, state_of

needs_posix = pytest.mark.skipif(os.name == "nt", reason="signals and limits of POSIX")
LIMITED = """
import resource, sys
from PartialOrganSegLib.cli import main
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.exit(main())
"""


def kill_a_loader() -> None:
    # As the kernel does where memory runs out.
    multiprocessing.active_children()[0].kill()


@needs_posix
def test_a_loader_that_is_killed_ends_the_run_and_resuming_comes_to_the_same(tmp_path):
    recipe = write_recipe(tmp_path, write_manifest(tmp_path), steps=60, checkpoint_every=2)
    uninterrupted = run(recipe, tmp_path / "whole")
    start = time.monotonic()
    with pytest.raises(UserError, match="workers: expected loader processes that live, found one that died") as error:
        # Its death may cut the checkpoint of that step short; the one of step 2 is whole by then.
        run(recipe, tmp_path / "run", "workers=2", reporter=AtStep(4, kill_a_loader))
    assert error.value.code is Code.NO_MEMORY
    assert time.monotonic() - start < 60
    assert not multiprocessing.active_children()
    run(recipe, tmp_path / "run", resume=True)
    assert equal_weights(state_of(uninterrupted)["network"], state_of(tmp_path / "run")["network"])


@needs_posix
def test_a_mini_batch_that_is_asked_of_a_dead_process_says_so(tmp_path):
    """Shared memory is handed over by the process that made it. What Python says of a closed connection is no line."""
    recipe = load_recipe(write_recipe(tmp_path, write_manifest(tmp_path)), [])
    cases = read_cases(recipe, load_manifest(tmp_path / "manifest.yaml"), Reporter())
    sampler = patches(recipe, cases.training, recipe.resolved_stages()[0], 1, 8)

    def load(before: Callable[[], object]) -> None:
        with loaded_batches(sampler, [[number] for number in range(8)], 1) as mini_batches:
            next(mini_batches)
            with contextlib.suppress(RuntimeError):  # of PyTorch's signal handler, which may strike first
                before()
                time.sleep(3)
            raise ConnectionResetError

    with pytest.raises(UserError, match="workers: expected loader processes that live"):
        load(kill_a_loader)
    with pytest.raises(ConnectionResetError):
        load(lambda: None)


@needs_posix
def test_a_loader_that_dies_while_a_checkpoint_is_written_is_not_a_full_disk(tmp_path, monkeypatch):
    def die(*_arguments: object) -> None:
        kill_a_loader()
        # PyTorch's signal handler raises meanwhile.
        time.sleep(30)

    recipe = write_recipe(tmp_path, write_manifest(tmp_path), steps=60, checkpoint_every=2)
    monkeypatch.setattr(torch, "save", die)
    with pytest.raises(UserError, match="workers: expected loader processes that live, found one that died"):
        run(recipe, tmp_path / "run", "workers=2")


def test_a_stage_that_ends_early_leaves_no_loader(tmp_path):
    """Of 40 steps the first stage takes 4: mini-batches are on their way that nobody fetches."""
    recipe = write_recipe(tmp_path, write_manifest(tmp_path, 3), steps=40, workers=2,
                          validation={"groups": ["case0"], "every": 2, "patience": 1})
    run(recipe, tmp_path / "run")
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_cached_file_that_goes_meanwhile_is_named(tmp_path, workers):
    def remove() -> None:
        for file in (tmp_path / "cache").glob("*.image.npy"):
            file.unlink()

    recipe = write_recipe(tmp_path, write_manifest(tmp_path, 1), steps=60)
    with pytest.raises(UserError, match=r"case0: expected cached files that can be read, found .*image\.npy"):
        run(recipe, tmp_path / "run", f"workers={workers}", reporter=AtStep(1, remove))


@needs_posix
def test_no_shared_memory_is_one_line(tmp_path):
    """No piece of shared memory above 100 kB; the mini-batch has 131 kB. In a process apart, which it may not hang."""
    recipe = write_recipe(tmp_path, write_manifest(tmp_path), workers=2,
                          preprocessing={"spacing_zyx": [3.0, 2.0, 2.0], "patch_zyx": [16, 32, 32]})
    words = [sys.executable, "-c", LIMITED, "100000", "train", str(recipe), "-o", str(tmp_path / "run"),
             "--device", "cpu"]
    ended = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False)
    assert ended.returncode == 1, ended.stderr
    line = ended.stderr.splitlines()[-1]
    assert line.startswith("error: workers: expected room for mini-batches in shared memory, found none left")
    assert "Traceback" not in ended.stderr


@needs_posix
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_closed_terminal_or_sigterm_ends_it_with_its_loaders_and_the_checkpoint(tmp_path, number):
    """The signal goes to every process, as a cluster's scheduler sends it."""
    recipe = write_recipe(tmp_path, write_manifest(tmp_path), steps=100_000, workers=2, checkpoint_every=100_000)
    words = [sys.executable, "-m", "PartialOrganSegLib", "train", str(recipe), "-o", str(tmp_path / "run"),
             "--device", "cpu"]
    # What ran the tests may have told its children to live on without a terminal, as nohup does.
    process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True,
                               preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
    deadline = time.monotonic() + 240
    while not logged(tmp_path / "run" / "log.jsonl") and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    # The loaders, noted while they live: a killed parent would leave them without one.
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    os.killpg(process.pid, number)
    _, text = process.communicate(timeout=120)
    assert process.returncode == 130, text
    line = text.splitlines()[-1]
    assert line.startswith("error: cancelled after step")
    assert line.endswith("--resume")
    assert not [child for child in children if child.is_running()]
    assert (tmp_path / "run" / "checkpoints" / "last.pt").is_file()


def logged(log: Path) -> bool:
    return log.is_file() and bool(log.read_text(encoding="utf-8"))
