"""`partialorganseg list`: everything that can be named, as a table and as events."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.cli.listing import KINDS
from PartialOrganSegLib.formats.registry import FORMATS
from PartialOrganSegLib.losses import LOSSES
from PartialOrganSegLib.networks import NETWORKS
from PartialOrganSegLib.organ_records import FOLDERS_VARIABLE, known_organs
from PartialOrganSegLib.organs import LABEL_SPACES
from PartialOrganSegLib.training.optimisers import OPTIMISERS
from PartialOrganSegLib.training.schedules import SCHEDULES

NAMES = {"losses": LOSSES, "networks": NETWORKS, "optimisers": OPTIMISERS, "schedules": SCHEDULES, "formats": FORMATS,
         "organs": known_organs().records, "label-spaces": LABEL_SPACES}


def rows_of(kind: str, capfd: pytest.CaptureFixture) -> list[dict]:
    """The results of the command as events, without their kind."""
    assert main(["list", kind, "--json-events"]) == 0
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert events[0] == {"event": "started", "command": "list", "kind": kind}
    assert {event.pop("event") for event in events[1:]} == {"result"}
    return events[1:]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_table_and_events(kind: str, capfd):
    rows = rows_of(kind, capfd)
    names = [row["name"] for row in rows]
    assert names
    if kind == "formats":
        # Which format registers first depends on what was imported first.
        assert names == sorted(FORMATS)
    elif kind in NAMES:
        assert names == list(NAMES[kind])
    # An organ's record has no line of description.
    assert all(row.get("what", "an organ") for row in rows)
    assert main(["list", kind]) == 0
    heading, rule, *lines = capfd.readouterr().out.splitlines()
    assert heading.split()[0] == "name"
    assert set(rule) == {"-", " "}
    assert [line.split()[0] for line in lines] == names


def test_what_a_row_says(capfd):
    [dice] = [row for row in rows_of("losses", capfd) if row["name"] == "marginal_dice"]
    assert dice["source"] == "Shi 2021 (6)"
    assert dice["what"].startswith("`mean over merged classes m of 1 - 2 sum")
    assert dice["arguments"] == ["per_image=False", "summed=False", "masks_only=False"]
    [network] = [row for row in rows_of("networks", capfd) if row["name"] == "pipo_fan"]
    assert network["arguments"][:3] == ["slices=3", "input_scales=5", "output_scales=5"]
    [nrrd] = [row for row in rows_of("formats", capfd) if row["name"] == "nrrd"]
    assert (nrrd["suffixes"], nrrd["reads"], nrrd["writes"]) == ([".nrrd", ".nhdr"], "CT, label map", "CT, label map")
    [kidney] = [row for row in rows_of("organs", capfd) if row["name"] == "left_kidney"]
    assert (kidney["snomed_ct"], kidney["tg263"]) == ("64033007 Kidney, left", "Kidney_L")
    [recipe] = [row for row in rows_of("recipes", capfd) if row["name"] == "marginal"]
    assert Path(recipe["file"]).is_file()
    assert "embedded" in {row["name"] for row in rows_of("models", capfd)}


def test_a_user_s_label_space_is_listed(tmp_path: Path, monkeypatch, capfd):
    (tmp_path / "label_spaces").mkdir()
    (tmp_path / "label_spaces" / "pelvis.json").write_text('["bladder", "rectum"]')
    monkeypatch.setenv(FOLDERS_VARIABLE, str(tmp_path))
    assert rows_of("label-spaces", capfd)[-1] == {"name": "pelvis", "what": "", "organs": ["bladder", "rectum"]}


def test_an_unknown_kind_names_the_nearest(capfd):
    assert main(["list", "loses"]) == 2
    error = capfd.readouterr().err
    assert "expected losses, networks, " in error
    assert "did you mean 'losses'?" in error
