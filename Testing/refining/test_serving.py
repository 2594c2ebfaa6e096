"""Corrections on request: the answers are those of a session, cancelling and bad requests leave the next one whole."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.formats.writing import write_ct
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.refining.serving import Server, raw_lines
from PartialOrganSegLib.refining.session import Correction, RefineSession
from PartialOrganSegLib.refining.stroke_input import StrokeSource
from PartialOrganSegLib.synthesis.phantom import make_phantom
from Testing.helpers import ready_python

CT, LABELS = make_phantom((48, 48, 48), (7.0, 7.0, 7.0), seed=3)
WHOLE = [0, 48, 0, 48, 0, 48]
LIVER = 1


class Answers(Reporter):
    """Keeps what is answered."""

    def __init__(self) -> None:
        self.given: list[dict] = []

    def result(self, **facts: object) -> None:
        self.given.append(facts)


def stroke() -> np.ndarray:
    """A stroke of the liver where the labels lack a piece of it."""
    k, j, i = np.argwhere(LABELS.array == LIVER).mean(0).astype(int)
    new = np.full(LABELS.array.shape, 255, np.uint8)
    new[k, j - 2:j + 3, i] = LIVER
    return new


def without_half() -> np.ndarray:
    labels = LABELS.array.copy()
    k = int(np.argwhere(labels == LIVER).mean(0)[0])
    labels[k - 3:k + 4][labels[k - 3:k + 4] == LIVER] = 0
    return labels


def ask(folder: Path, number: int, labels: np.ndarray, new: np.ndarray, accepted: tuple[str, ...] = ()) -> str:
    np.savez(folder / f"{number}.npz", labels=labels, drawn=new, new=new)
    return json.dumps({"id": number, "file": f"{number}.npz", "box": WHOLE, "accepted": accepted})


def session() -> RefineSession:
    return RefineSession(CT, Volume(np.zeros_like(LABELS.array), LABELS.grid), WORD16)


def test_an_answer_is_what_a_session_gives(tmp_path: Path) -> None:
    labels = without_half()
    expected = RefineSession(CT, Volume(labels, LABELS.grid), WORD16).add(Volume(stroke(), LABELS.grid)).labels.array
    answers = Answers()
    # the same twice: what was corrected first must not be remembered, as the program may have taken it back
    Server(session(), tmp_path, answers).run([ask(tmp_path, 1, labels, stroke()), ask(tmp_path, 2, labels, stroke())])
    assert len(answers.given) == 2
    for answer in answers.given:
        z0, z1, y0, y1, x0, x1 = answer["box"]
        after = labels.copy()
        after[z0:z1, y0:y1, x0:x1] = np.load(tmp_path / answer["file"])["labels"]
        np.testing.assert_array_equal(after, expected)
        assert answer["changes"][0]["organ"] == "liver"
        assert answer["changes"][0]["gained_ml"] > 10


def test_a_box_that_cuts_an_organ_makes_no_fragment_of_it(tmp_path: Path) -> None:
    """A program sends what lies around a stroke. The organ is as large as it is all the same: its outline moves, and
    the stroke reaches as far as in a whole one."""
    shape, mm = (60, 80, 64), 4.0
    grid = Grid(shape[::-1], (mm, mm, mm))
    truth = np.zeros(shape, np.uint8)
    truth[4:56, 10:70, 12:44] = LIVER  # six litres
    hu = np.where(truth > 0, 130.0, 40.0) + np.random.default_rng(0).normal(0, 12, shape)
    ct, start, new = Volume(hu.round().astype(np.int16), grid), truth.copy(), np.full(shape, 255, np.uint8)
    start[:, :16] = 0
    new[30, 13, 16:40] = LIVER
    box = [15, 46, 0, 29, 1, 55]  # as far around the stroke as anything may change
    inside = np.s_[15:46, 0:29, 1:55]
    np.savez(tmp_path / "1.npz", labels=start[inside], drawn=new[inside], new=new[inside])
    answers = Answers()
    Server(RefineSession(ct, Volume(np.zeros(shape, np.uint8), grid), WORD16), tmp_path, answers).run(
        [json.dumps({"id": 1, "file": "1.npz", "box": box})])
    z0, z1, y0, y1, x0, x1 = answers.given[0]["box"]
    after = start.copy()
    after[z0:z1, y0:y1, x0:x1] = np.load(tmp_path / answers.given[0]["file"])["labels"]
    assert 0 < (start[inside] == LIVER).sum() * grid.voxel_ml < 950  # less than a liver has
    np.testing.assert_array_equal(after, RefineSession(ct, Volume(start, grid), WORD16).add(
        Volume(new, grid)).labels.array)


def test_accepted_organs_keep_every_voxel_that_no_stroke_is_on(tmp_path: Path) -> None:
    labels = without_half()
    answers = Answers()
    Server(session(), tmp_path, answers).run([ask(tmp_path, 1, labels, stroke(), ("liver",))])
    changed, = answers.given
    assert changed["changes"][0]["gained_ml"] <= 5 * LABELS.grid.voxel_ml + 0.01


def test_a_cancelled_request_changes_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    labels, answers = without_half(), Answers()
    lines = [json.dumps({"cancel": 1}), ask(tmp_path, 1, labels, stroke()), ask(tmp_path, 2, labels, stroke())]
    Server(session(), tmp_path, answers).run(lines)
    assert answers.given[0] == {"id": 1, "cancelled": True}
    assert answers.given[1]["box"] is not None


class CancelledLate(RefineSession):
    """Begins to work, or has done its work, when the cancellation of it has been read."""

    def __init__(self, works_first: bool) -> None:
        super().__init__(CT, Volume(np.zeros_like(LABELS.array), LABELS.grid), WORD16)
        self.works_first, self.entered, self.cancelled = works_first, threading.Event(), threading.Event()

    def add(self, strokes: StrokeSource) -> Correction:
        if self.works_first:
            correction = super().add(strokes)
        self.entered.set()
        assert self.cancelled.wait(60)
        return correction if self.works_first else super().add(strokes)

    def lines(self, request: str) -> Iterator[str]:
        yield request
        assert self.entered.wait(60)
        yield json.dumps({"cancel": 1})
        self.cancelled.set()


@pytest.mark.parametrize("works_first", [True, False])
def test_a_correction_that_is_cancelled_too_late_is_taken_back(works_first: bool, tmp_path: Path) -> None:
    late, answers = CancelledLate(works_first), Answers()
    Server(late, tmp_path, answers).run(late.lines(ask(tmp_path, 1, without_half(), stroke())))
    assert answers.given == [{"id": 1, "cancelled": True}]
    np.testing.assert_array_equal(late.labels.array, without_half())


@pytest.mark.timeout(60)  # a server whose reader has died waits for ever
@pytest.mark.parametrize(("line", "word"), [
    ("{", "a line of JSON"), ("[[" * 20000, "a line of JSON"),
    ('{"id": 1, "file": "../1.npz"}', "should match pattern"),
    ('{"id": 1, "file": "none.npz", "box": [0, 1, 0, 1, 0, 1]}', "arrays labels, drawn and new"),
    ('{"id": 1, "file": "1.npz", "box": [0, 99, 0, 48, 0, 48]}', "uint8 of (99, 48, 48)"),
])
def test_a_bad_request_is_answered_and_the_next_one_works(tmp_path: Path, line: str, word: str) -> None:
    answers = Answers()
    good = ask(tmp_path, 1, without_half(), stroke())
    Server(session(), tmp_path, answers).run([line, good])
    assert word in answers.given[0]["problem"]["message"]
    assert answers.given[1]["box"] is not None


@pytest.mark.parametrize(("line", "number", "message"), [
    ('{"id": 7, "file": "a b.npz"}', 7, "request: file: "), ('{"id": 7, "bax": 1}', 7, "request: bax: Extra inputs"),
    ('{"id": 7, "box": [0, 1]}', 7, "request: box: "), ('{"id": "x"}', 0, "request: id: "),
    ("[7]", 0, "request: expected fields (key: value), found a list"),
    ('{"id": 7}', 7, "request: file: expected a file's name in the served folder, found none"),
    (json.dumps({"id": 7, "file": "x" * 1_000_000}), 7, "request: file: "),
    ('{"id": 7, "id": 8}', 0, "request: expected a line of JSON, found the key 'id' twice"),
])
def test_a_bad_request_is_answered_by_its_number(tmp_path: Path, line: str, number: int, message: str) -> None:
    """A program that waits for the answer to its request would wait for ever for another's."""
    answers = Answers()
    Server(session(), tmp_path, answers).run([line])
    [answer] = answers.given
    assert answer["id"] == number
    assert answer["problem"]["message"].startswith(message)


@pytest.mark.parametrize(("request_", "problem"), [
    ({"file": "no.npz", "box": [0, 1, 0, 1, 0, 1]},
     "no.npz: expected arrays labels, drawn and new, found No such file"),
    ({"file": "1.npz", "box": [-1, 47, 0, 48, 0, 48]},
     "expected a box within (48, 48, 48), found one [(-1, 47), (0, 48), (0, 48)] (from, to) with arrays of (48,"),
])
def test_a_problem_is_told_in_words_of_nobodys_program(tmp_path: Path, request_: dict, problem: str) -> None:
    answers = Answers()
    ask(tmp_path, 1, LABELS.array, stroke())
    Server(session(), tmp_path, answers).run([json.dumps({"id": 1} | request_)])
    message = answers.given[0]["problem"]["message"]
    assert problem in message
    assert "Errno" not in message


def test_an_answer_that_cannot_be_written_is_a_problem_and_the_next_one_works(tmp_path: Path) -> None:
    """As on a disk that was full for a moment. The server ended."""
    (tmp_path / "1.answer.npz").mkdir()
    answers, served = Answers(), session()
    labels = without_half()
    Server(served, tmp_path, answers).run([ask(tmp_path, 1, labels, stroke()), ask(tmp_path, 2, labels, stroke())])
    assert answers.given[0]["id"] == 1
    assert "1.answer.npz: expected room for an answer, found " in answers.given[0]["problem"]["message"]
    assert answers.given[1]["file"] == "2.answer.npz"


@pytest.mark.parametrize(("sent", "lines"), [
    (b"a\nb", ["a", "b"]), (b"a\nb\n", ["a", "b"]), (b"", []), (b"\n ", [""]), (b"x" * 200_000, ["x" * 200_000])])
def test_the_last_line_needs_no_end(sent: bytes, lines: list[str]) -> None:
    """A request without one was dropped: whoever sent it waited for an answer that never came."""
    reading, writing = os.pipe()
    sender = threading.Thread(target=lambda: (os.write(writing, sent), os.close(writing)))
    sender.start()
    try:
        assert list(raw_lines(reading)) == lines
    finally:
        sender.join()
        os.close(reading)


def whole(folder: Path) -> bytes:
    ask(folder, 9, LABELS.array, stroke())
    return (folder / "9.npz").read_bytes()


def one_array(folder: Path) -> bytes:
    np.save(folder / "one.npy", LABELS.array)
    return (folder / "one.npy").read_bytes()


@pytest.mark.parametrize("content", [
    lambda folder: b"", lambda folder: whole(folder)[:-900], lambda folder: whole(folder).replace(b"\1" * 4, b"\2" * 4),
    one_array, lambda folder: b"PK\3\4"], ids=["empty", "cut short", "changed", "one array", "a beginning"])
def test_a_damaged_file_is_answered_and_the_next_one_works(tmp_path: Path, content: Callable[[Path], bytes]) -> None:
    (tmp_path / "1.npz").write_bytes(content(tmp_path))
    answers = Answers()
    damaged = json.dumps({"id": 1, "file": "1.npz", "box": WHOLE})
    Server(session(), tmp_path, answers).run([damaged, ask(tmp_path, 2, without_half(), stroke())])
    assert "1.npz: expected arrays labels, drawn and new" in answers.given[0]["problem"]["message"]
    assert answers.given[1]["box"] is not None


@pytest.mark.timeout(60)
def test_what_ends_the_reading_ends_the_server(tmp_path: Path) -> None:
    def lines() -> Iterator[str]:
        yield "{"
        raise OSError("the pipe broke")

    answers = Answers()
    with pytest.raises(OSError, match="the pipe broke"):
        Server(session(), tmp_path, answers).run(lines())
    assert len(answers.given) == 1


def test_the_command_answers_until_its_input_ends(tmp_path: Path) -> None:
    write_ct(tmp_path / "ct.nrrd", CT)
    command = [ready_python.program(), "-m", "PartialOrganSegLib", "refine", str(tmp_path / "ct.nrrd"), "--serve", "-o",
               str(tmp_path / "served"), "--label-space", "word16", "--force", "--json-events"]
    (tmp_path / "served").mkdir()
    lines = ask(tmp_path / "served", 1, without_half(), stroke()) + "\n"
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=120, check=True,
                          env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])})
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events] == ["started", "result", "result"]
    assert events[1]["size"] == [48, 48, 48]
    assert (tmp_path / "served" / events[2]["file"]).is_file()
