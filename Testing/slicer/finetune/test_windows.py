"""Section Fine-tune on Windows: files that something else holds for a moment, names that not everything can read."""

import os

import pytest
from panel_helpers.start_models import write_model
from PartialOrganSegPanel.finetune.export import manifest_of

from PartialOrganSegLib import atomic


@pytest.fixture
def held(monkeypatch):
    """`held(times, error)`: as many renames fail with this error of Windows; lists the pauses that follow."""
    replace, pauses, errors = os.replace, [], []

    def busy(source, target):
        if errors:
            error = PermissionError(13, "in use")
            error.winerror = errors.pop()
            raise error
        replace(source, target)

    def hold(times, error=32):
        errors.extend([error] * times)
        return pauses

    monkeypatch.setattr(os, "replace", busy)
    monkeypatch.setattr(atomic.time, "sleep", pauses.append)
    return hold


@pytest.mark.parametrize("error", [5, 32, 33])
def test_the_cases_of_a_run_wait_for_a_virus_scanner(course, held, error):
    course.add_case()
    pauses = held(3, error)
    course.start()
    assert manifest_of(course.run).is_file()
    assert len(course.services.processes) == 1
    assert 0 < sum(pauses) < 1


def test_a_file_is_written_whole_all_the_same(held, tmp_path):
    held(2)
    with atomic.whole_file(tmp_path / "plan.json") as temporary:
        temporary.write_text("{}")
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


def test_a_model_replaces_an_older_one_all_the_same(held, tmp_path):
    write_model(tmp_path / "model", "older")
    held(2)
    write_model(tmp_path / "model", "newer")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert '"newer"' in (tmp_path / "model" / "configs" / "metadata.json").read_text()


@pytest.mark.parametrize(("error", "fewest", "highest"), [(32, 2, 3), (3, 0, 0)])
def test_a_file_that_stays_held_is_reported(course, held, error, fewest, highest):
    course.add_case()
    pauses = held(100, error)
    course.start()
    assert "in use" in course.said
    assert not course.services.processes
    assert fewest <= sum(pauses) <= highest
