"""A full disk names the file that did not fit and what there is to resume from."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from PartialOrganSegLib.cli import main
from Testing.helpers.training_data import write_manifest, write_recipe
from Testing.helpers.training_runs import AtStep, equal_weights, run, state_of, terminate

pytestmark = pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")


@contextlib.contextmanager
def most_bytes(limit: int) -> Iterator[None]:
    """A limit of a file's size stands for a disk on which there is no room for a larger one."""
    import resource

    usual, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        # The soft limit alone was lowered, which may be raised again.
        resource.setrlimit(resource.RLIMIT_FSIZE, (usual, hard))


def train(capsys: pytest.CaptureFixture[str], limit: int, recipe: Path, folder: Path, *options: str) -> str:
    """The error line of a training that may write no file above `limit` bytes."""
    capsys.readouterr()
    with most_bytes(limit):
        code = main(["train", str(recipe), "-o", str(folder), "--device", "cpu", *options])
    errors = capsys.readouterr().err
    assert code == 1, errors
    assert "Traceback" not in errors
    return errors.splitlines()[-1]


def test_a_full_disk_names_the_file_and_what_to_resume_from(tmp_path, capsys):
    recipe = write_recipe(tmp_path, write_manifest(tmp_path), steps=4, checkpoint_every=2)
    finished, out = run(recipe, tmp_path / "whole"), tmp_path / "run"
    last = out / "checkpoints" / "last.pt"
    # Room for the recipe and the cache, not for a checkpoint.
    too_little = (finished / "checkpoints" / "last.pt").stat().st_size // 2
    line = train(capsys, too_little, recipe, out)
    assert line.startswith(f"error: {last}: the checkpoint could not be written")
    assert line.endswith("make room and start anew, there is no earlier one to resume from")
    with pytest.raises(KeyboardInterrupt):
        run(recipe, out, reporter=AtStep(2, terminate))
    earlier = last.read_bytes()
    line = train(capsys, too_little, recipe, out, "--resume")
    assert line.startswith(f"error: {last}: the checkpoint could not be written")
    assert line.endswith("make room and go on with --resume from the one before")
    assert last.read_bytes() == earlier
    # A half-written file has a hidden name until it is whole.
    assert not [path for path in out.rglob(".*") if path.is_file()]
    run(recipe, out, resume=True)
    assert equal_weights(state_of(finished)["network"], state_of(out)["network"])


@pytest.mark.parametrize("limit", [10, 800])
def test_where_the_first_files_do_not_fit_it_says_so_in_a_line(tmp_path, capsys, limit):
    """The cache and the recipe come before any checkpoint."""
    recipe = write_recipe(tmp_path, write_manifest(tmp_path), steps=4)
    if limit > 10:
        run(recipe, tmp_path / "whole")  # fills the cache
    line = train(capsys, limit, recipe, tmp_path / "run")
    assert "could not be cached" in line if limit == 10 else "recipe.yaml: expected room" in line
    assert str(tmp_path) in line
