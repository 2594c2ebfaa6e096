"""How a run over many CTs is done: checked once, the same in a worker's process as here."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from PartialOrganSegLib.batch.options import BatchOptions
from PartialOrganSegLib.batch.run import batch_of, worker_parts
from PartialOrganSegLib.batch.sharding import Shard
from PartialOrganSegLib.cli import main
from PartialOrganSegLib.errors import UsageError
from PartialOrganSegLib.segmenting.options import SegmentOptions
from PartialOrganSegLib.segmenting.segmenter import Segmenter
from Testing.helpers.batch_data import quick_model, write_cts


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return quick_model(monkeypatch, tmp_path / "model")


@pytest.mark.parametrize(("wrong", "line"), [
    ({"shard": "5/4"}, "shard: expected K/N with K from 1 to N, e.g. 3/16, found '5/4'"),
    ({"workers": "0"}, "workers: expected a number from 1, found '0'"),
    ({"workers": "two"}, "workers: expected a number from 1, found 'two'"),
])
def test_what_cannot_be_is_one_line_here_and_on_the_command_line(wrong, line, tmp_path, capsys):
    with pytest.raises(UsageError, match=f"^{line}$"):
        BatchOptions(output=tmp_path, **wrong)
    [(name, value)] = wrong.items()
    cases = write_cts(tmp_path / "cts", "a")
    assert main(["segment", str(cases), "-o", str(tmp_path / "out"), f"--{name}", value]) == 2
    assert capsys.readouterr().err == f"error: {line}\n"


def test_shards_and_clusters_always_resume(tmp_path):
    assert BatchOptions(output=tmp_path, shard="3/16").shard == Shard(3, 16)
    settings = ({}, {"resume": True}, {"shard": "1/2"}, {"ray": "local"})
    resumes = [BatchOptions(output=tmp_path, **changes).resumes for changes in settings]
    assert resumes == [False, True, True, True]


def test_a_table_is_kept_of_many_and_where_there_is_one(tmp_path):
    options = BatchOptions(output=tmp_path)
    assert [options.keeps_table(count) for count in (1, 2)] == [False, True]
    (tmp_path / "run_table.csv").touch()
    assert options.keeps_table(1)


def test_a_worker_makes_the_same_of_the_same_options(tmp_path):
    options = SegmentOptions(organs="spleen,liver", scales="1,0.75", preview=False)
    batch_options = BatchOptions(output=tmp_path / "out", resume=True)
    batch = batch_of(Segmenter(options), batch_options)
    # Options travel to a worker as pickles; records must not tell who wrote them.
    of_worker, _, _ = worker_parts(*pickle.loads(pickle.dumps((options, batch_options))))
    assert of_worker == batch
    assert batch.settings["organs"] == ["liver", "spleen"]
