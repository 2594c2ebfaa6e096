"""The session for other programs: messages in, answers and files of changed voxels out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from PartialOrganSegLib.events import JsonReporter
from PartialOrganSegLib.formats.reading import read_labelmap
from PartialOrganSegLib.formats.writing import write_ct, write_labelmap
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.refining import session as session_module
from PartialOrganSegLib.refining.refiner import OpenedCT
from PartialOrganSegLib.refining.server import RefineServer
from PartialOrganSegLib.segmenting.options import SegmentOptions
from Testing.helpers.stroke_scenes import FIRST_MIDDLE, GRID, SPLEEN, scene, stroke_at


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A CT, labels without its spleen, and a map with a stroke through it."""
    ct, truth = scene()
    write_ct(tmp_path / "scan.nii.gz", ct)
    write_labelmap(tmp_path / "start.nii.gz", Volume(np.where(truth == SPLEEN, 0, truth).astype(np.uint8), GRID))
    write_labelmap(tmp_path / "stroke.nrrd", stroke_at(FIRST_MIDDLE, SPLEEN))
    return tmp_path


def polyline() -> dict[str, Any]:
    z, y, x = FIRST_MIDDLE
    points = [(GRID.matrix @ [column, y, z, 1])[:3].tolist() for column in (x - 5, x + 5)]
    return {"image": "scan.nii.gz", "drawn_by": "a test", "licence": "CC0-1.0",
            "strokes": [{"organ": "spleen", "points": points, "width_mm": 4.0}]}


def served(folder: Path) -> RefineServer:
    reporter = JsonReporter(StringIO())
    opened = OpenedCT(folder / "scan.nii.gz", folder / "start.nii.gz", (), SegmentOptions(preview=False), reporter)
    return RefineServer(opened, folder / "out", "scan", reporter)


def events_of(server: RefineServer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server._reporter._stream.getvalue().splitlines()]


def answers(server: RefineServer, *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """Events after all messages were sent and the stream was closed."""
    reading, writing = os.pipe()
    os.write(writing, "".join(json.dumps(message) + "\n" for message in messages).encode())
    os.close(writing)
    server.run(reading)
    os.close(reading)
    return events_of(server)


def test_a_child_process_answers_each_message(folder: Path):
    command = [sys.executable, "-m", "PartialOrganSegLib", "refine", str(folder / "scan.nii.gz"), "--serve",
               "--json-events", "--labels", str(folder / "start.nii.gz"), "-o", str(folder / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        def ask(**message: object) -> dict[str, Any]:
            child.stdin.write(json.dumps(message) + "\n")
            child.stdin.flush()
            return json.loads(child.stdout.readline())

        assert [json.loads(child.stdout.readline()).get("do") for _ in range(2)] == [None, "open"]
        added = ask(do="add", id=1, strokes=polyline())
        assert (added["event"], added["id"], added["corrections"]) == ("result", 1, 1)
        start, size = added["region"]["start"], added["region"]["size"]
        region = read_labelmap(added["labels"])
        assert region.grid.size == tuple(size)
        assert np.allclose(region.grid.origin, (GRID.matrix @ [*start, 1])[:3])
        box = tuple(slice(first, first + count) for first, count in zip(start[::-1], size[::-1], strict=True))
        labels = read_labelmap(folder / "start.nii.gz").array.copy()
        labels[box] = region.array
        saved = ask(do="save", id=2)
        assert np.array_equal(read_labelmap(saved["files"]["labelmap"]).array, labels)
        assert [change["organ"] for change in saved["changes"]] == ["spleen"]
        assert ask(do="undo", id=3)["changes"][0]["lost_ml"] == added["changes"][0]["gained_ml"]
        child.stdin.close()
        assert json.loads(child.stdout.readline())["do"] == "end"
        assert child.wait(20) == 0
    assert not list((folder / "out").glob("*region*"))


def test_maps_are_strokes_too_and_accepted_organs_stay(folder: Path):
    events = answers(served(folder), {"do": "accept", "id": "a", "organs": ["spleen"]},
                     {"do": "add", "id": "b", "strokes": str(folder / "stroke.nrrd")})
    accepted, added = events[1:3]
    assert accepted == {"event": "result", "do": "accept", "id": "a", "organs": ["spleen"]}
    drawn = stroke_at(FIRST_MIDDLE, SPLEEN).array == SPLEEN
    assert added["changes"][0]["gained_ml"] == pytest.approx(drawn.sum() * GRID.voxel_ml)


@pytest.mark.parametrize(("message", "line"), [
    ({"do": "ad", "id": 1}, "message: do: expected one of add, undo, accept, save, cancel, end, found 'ad' (did you"),
    ({"do": "undo"}, "undo: expected a correction to take back, found none"),
    ({"do": "add"}, "strokes: Input should be a valid dictionary"),
    ({"do": "add", "strokes": {"image": "x", "drawn_by": "y", "licence": "z"}}, "strokes: expected one stroke or more"),
    ({"do": "add", "strokes": "nowhere.json"}, "nowhere.json: stroke file expected, none found"),
    ({"do": "accept", "organs": "liver"}, "organs: expected a list of names, found 'liver'"),
    ({"do": "accept", "organs": ["livr"]}, "unknown organ 'livr' (did you mean 'liver'?)"),
])
def test_what_is_refused_leaves_the_session_working(folder: Path, message: dict[str, Any], line: str):
    events = answers(served(folder), message, {"do": "add", "id": 9, "strokes": polyline()})
    [error] = [event for event in events if event["event"] == "error"]
    assert error["message"].startswith(line)
    assert error["data"]["id"] == (message.get("id") if message["do"] != "ad" else None)
    assert [event["corrections"] for event in events if event.get("id") == 9] == [1]


def test_lines_that_are_no_messages(folder: Path):
    server = served(folder)
    reading, writing = os.pipe()
    os.write(writing, b"[1]\n\xff\n{\n\n" + json.dumps({"do": "undo", "id": 1}).encode())  # the last without its end
    os.close(writing)
    server.run(reading)
    errors = [event["message"] for event in events_of(server) if event["event"] == "error"]
    assert errors[0] == "message: expected an object with 'do', found [1]"
    assert errors[1] == "message: expected a line of JSON, found bytes that are no UTF-8 (at 0)"
    assert errors[2].startswith("message: expected a line of JSON, found Expecting property name")
    assert errors[3].startswith("undo: ")


def until(done: Any) -> None:
    for _ in range(500):
        if done():
            return
        time.sleep(0.01)
    raise AssertionError("nothing came within five seconds")


def test_cancel_ends_what_is_worked_on_and_what_waits(folder: Path, monkeypatch: pytest.MonkeyPatch):
    server = served(folder)
    begun = threading.Event()
    spread = session_module.spread

    def slow(*arguments: Any) -> Any:
        begun.set()
        keep_on = arguments[-1]
        for _ in self_paced():
            keep_on()
        return spread(*arguments)

    def self_paced() -> Iterator[int]:
        for number in range(500):
            time.sleep(0.01)
            yield number

    monkeypatch.setattr(session_module, "spread", slow)
    reading, writing = os.pipe()
    work = threading.Thread(target=server.run, args=(reading,))
    work.start()
    for number in (1, 2):
        os.write(writing, json.dumps({"do": "add", "id": number, "strokes": polyline()}).encode() + b"\n")
    assert begun.wait(5)
    until(lambda: len(server._open_messages) == 2)
    os.write(writing, b'{"do": "cancel", "id": 3}\n')
    until(lambda: sum(event["event"] == "error" for event in events_of(server)) == 2)
    monkeypatch.undo()
    os.write(writing, json.dumps({"do": "add", "id": 4, "strokes": polyline()}).encode() + b"\n")
    os.close(writing)
    work.join(20)
    events = events_of(server)
    errors = [event for event in events if event["event"] == "error"]
    assert [(error["code"], error["data"]["id"]) for error in errors] == [("cancelled", 1), ("cancelled", 2)]
    assert [event["cancelled"] for event in events if event.get("do") == "cancel"] == [2]
    assert [event["corrections"] for event in events if event.get("id") == 4] == [1]
