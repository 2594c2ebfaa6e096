"""Whatever is killed at any moment is simply started again, and comes to what it would have come to.

A longer one, with its table: Testing/benchmarks/kills.py.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from PartialOrganSegLib.batch.records import read_record, record_file
from Testing.helpers.batch_data import hidden
from Testing.helpers.fork_server import ForkServer
from Testing.helpers.kill_trials import COMMANDS, kill_trials
from Testing.helpers.moody_network import moody_bundle, write_moody_ct

FILES = ["a.labels.nii.gz", "a.seg.nrrd", "a.volumes.csv"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """For all tests here: it takes seconds to import what it forks."""
    forks = ForkServer(tmp_path_factory.mktemp("server") / "log.txt")
    yield forks
    forks.close()


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
@pytest.mark.parametrize("make", COMMANDS, ids=[command.name for command in COMMANDS])
def test_killed_at_random_moments_nothing_is_lost(server, tmp_path, make):
    tally = kill_trials(make, tmp_path, server, seed=19, kills=4)
    assert tally.wrong == []
    assert tally.kills >= 4


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
@pytest.mark.parametrize("again", [False, True])
def test_killed_before_every_change_of_the_disk_it_is_simply_run_again(server, tmp_path, again):
    """Before every file that is made, moved or removed; with `again` over the results of another CT."""
    model = moody_bundle(tmp_path / "moody").folder
    words = ["--model", model, "--device", "cpu", "--no-preview", *(["--overwrite"] if again else [])]
    ct = write_moody_ct(tmp_path / "in" / "a.nii.gz")
    earlier_ct = write_moody_ct(tmp_path / "before" / "a.nii.gz", 100)
    uninterrupted = server.run("segment", ct, "-o", tmp_path / "whole", *words)
    earlier = tmp_path / "earlier"
    assert server.run("segment", earlier_ct, "-o", earlier, *words).code == uninterrupted.code == 0
    new, old = contents(tmp_path / "whole"), contents(earlier)
    assert new.keys() == old.keys() == set(FILES)
    for change in range(1, uninterrupted.changes + 1):
        out = tmp_path / f"out{change}"
        if again:
            shutil.copytree(earlier, out)
        server.run("segment", ct, "-o", out, *words, at_change=change)
        if again:  # each file is the old one or the new one, and never away
            assert contents(out).keys() == set(FILES)
            assert all(content in (old[name], new[name]) for name, content in contents(out).items())
        at_work = bool(list(out.glob(".partial-*/earlier")))
        ended = server.run("segment", ct, "-o", out, *words)
        # Refused is only what had come to its very end.
        assert ended.code == 0 or not (again or at_work), server.log.read_text("utf-8")
        record = read_record(record_file(out, "a"))
        assert record is not None
        assert record.finished(record.made_from, [out / name for name in FILES])
        assert contents(out) == new
        assert not hidden(out)


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("a.*")}
