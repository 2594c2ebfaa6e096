"""The library is a house: rooms on floors, and whoever is upstairs may use what is downstairs, never the reverse."""

from __future__ import annotations

import pytest

from Testing.helpers.import_graph import circles, import_arrows, reachable
from Testing.helpers.longest_files import LONGEST_FIRST
from Testing.helpers.repository import ROOT

# Top to bottom. A room uses rooms of lower floors only, so rooms of one floor know nothing of each other.
FLOORS = """
    __main__  inference
    cli  api
    learning
    batch  finetuning  refining  serving
    training
    losses  segmenting
    loading  evaluation  models
    datasets  synthesis  networks
    formats
    imaging
    annotation  label_space_file
    organs
    organ_records  yaml_file  registry  logfile  outputs
    events  scratch  json_file  memory_claims  safe_text  streams  html_document
    bounded_file
    errors  atomic  cancelling  resources  real_paths  free_memory
    problem_codes  file_locks  exchanging  process_settings
    text_enum
"""
FRONT_DOOR = "PartialOrganSegLib"  # offers what the rooms have; rooms take nothing from it but the version
WITH_TORCH = {"linear", "resampling", "upsampling", "working_grid"}  # of imaging, which is numpy otherwise
WINDOW = {"slicer", "qt", "ctk", "vtk", "PythonQt", "PartialOrganSegPanel", "Testing"}  # what runs or tests the library
BESIDE_ROOMS = {"helpers", "benchmarks", "docs", "peers", "scripts", "slicer"}  # folders of Testing that mirror no room

LEVEL = {room: -number for number, floor in enumerate(FLOORS.split("\n")) for room in floor.split()}
ARROWS, NAMES = import_arrows(ROOT / FRONT_DOOR, FRONT_DOOR)


def room_of(module: str) -> str:
    """The room that a module is or lies in; empty for the front door."""
    return module.removeprefix(FRONT_DOOR).lstrip(".").split(".")[0]


def test_every_room_has_a_floor() -> None:
    assert {room_of(module) for module in ARROWS} - {""} == set(LEVEL)


def test_nothing_below_uses_what_is_above() -> None:
    wrong = []
    for module, targets in ARROWS.items():
        for target in targets - {FRONT_DOOR}:
            room, target_room = room_of(module), room_of(target)
            if module != FRONT_DOOR and room != target_room and LEVEL[room] <= LEVEL[target_room]:
                wrong.append(f"{module} imports {target}")
    assert wrong == []


def test_rooms_take_the_version_alone_from_the_front_door() -> None:
    names_used = set()
    for module, names in NAMES.items():
        if module != FRONT_DOOR:
            names_used |= {name for name in names - set(ARROWS) if name.rpartition(".")[0] == FRONT_DOOR}
    assert names_used == {f"{FRONT_DOOR}.__version__"}


def test_no_module_is_imported_by_what_it_imports() -> None:
    assert circles({module: targets - {FRONT_DOOR} for module, targets in ARROWS.items()}) == []


def test_the_library_knows_nothing_of_slicer_and_of_tests() -> None:
    wrong = {}
    for module, imported in NAMES.items():
        # Late imports count too: a library that needs a window somewhere needs it.
        names = {name for name in imported if name.split(".")[0] in WINDOW}
        if names:
            wrong[module] = names
    assert wrong == {}


def test_the_ground_floor_works_without_torch_but_for_resampling() -> None:
    with_torch = {module for module, names in NAMES.items() if "torch" in {name.split(".")[0] for name in names}}
    imaging = {module for module in ARROWS if room_of(module) == "imaging"}
    needing = {module for module in imaging if ({module} | reachable(ARROWS, module)) & with_torch}
    assert {module.rpartition(".")[2] for module in needing} == WITH_TORCH


def test_tests_lie_in_the_rooms_that_they_test() -> None:
    folders = {path.name for path in (ROOT / "Testing").iterdir() if path.is_dir() and any(path.rglob("*.py"))}
    assert folders - BESIDE_ROOMS <= set(LEVEL)


@pytest.mark.parametrize(("arrows", "expected"), [
    ({"a": ["b"], "b": ["c"], "c": []}, []), ({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}, [["a", "b", "c"]]),
    ({"a": ["b"], "b": ["a"], "c": ["d"], "d": ["c", "b"]}, [["a", "b"], ["c", "d"]]),
])
def test_circles_are_noticed(arrows: dict[str, list[str]], expected: list[list[str]]) -> None:
    assert circles(arrows) == expected


def test_the_longest_files_are_there() -> None:
    # A file of another name would begin last again, without anybody noticing.
    assert [name for name in LONGEST_FIRST if not (ROOT / "Testing" / name).is_file()] == []


def test_imports_are_read_in_every_spelling(tmp_path) -> None:
    (tmp_path / "room").mkdir()
    (tmp_path / "__init__.py").write_text("version = 1\n")
    (tmp_path / "low.py").write_text("import os.path\n")
    (tmp_path / "room" / "__init__.py").write_text("from ..low import x\nfrom . import file\n")
    # An import in a function, and one of a name that is no module.
    (tmp_path / "room" / "file.py").write_text("from .. import low, version\ndef f():\n    import p.room.other\n")
    (tmp_path / "room" / "other.py").write_text("from p.low import y\n")
    arrows, names = import_arrows(tmp_path, "p")
    assert arrows == {"p": set(), "p.low": set(), "p.room": {"p.low", "p.room.file"},
                      "p.room.file": {"p", "p.low", "p.room.other"}, "p.room.other": {"p.low"}}
    assert names["p.low"] == {"os.path"}
