"""Segmenting for others: the same result as here, and nothing for those who may not or ask too much."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.errors import Code, UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.formats.reading import read_labelmap
from PartialOrganSegLib.formats.writing import write_ct
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.models.bundle import Preprocessing
from PartialOrganSegLib.models.bundle_writing import write_bundle
from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting.options import SegmentOptions
from PartialOrganSegLib.segmenting.segmenter import Segmenter
from PartialOrganSegLib.serving import http_server, service
from PartialOrganSegLib.serving.framing import RequestHead
from PartialOrganSegLib.serving.http_server import is_loopback, tls_context
from PartialOrganSegLib.serving.remote import segment_remotely
from PartialOrganSegLib.serving.service import Limits, Service
from PartialOrganSegLib.serving.token import is_token, make_token, read_token
from PartialOrganSegLib.synthesis.phantom import make_phantom
from Testing.helpers.listener import Listener
from Testing.helpers.served import Served


@pytest.fixture(scope="module")
def ct() -> Volume:
    return make_phantom(shape_zyx=(24, 24, 24), spacing_zyx=(8.0, 8.0, 8.0))[0]


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    """With a model of random weights: what is asked here is how it is served, which takes seconds with the real one."""
    torch.manual_seed(0)
    network = {"channels": [4, 8]}
    bundle = write_bundle(
        tmp_path_factory.mktemp("models") / "small", build_network("light_unet", 1, WORD16.class_count, **network),
        "light_unet", network, WORD16, Preprocessing((8.0, 8.0, 8.0), (-200.0, 300.0), 50.0, 100.0, (16, 16, 16)),
        "small", "1.0", {"code": "Apache-2.0", "weights": "none", "data": "none"}, [], {}, "Random weights.")
    made = Segmenter(SegmentOptions(model=str(bundle.folder), device="cpu"))
    made.prepare()
    return made


@pytest.fixture
def served(segmenter: Segmenter, tmp_path: Path) -> Served:
    return Served(segmenter, tmp_path)


def wait(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


# --- the result

def test_the_result_is_that_of_this_computer(served, tmp_path, ct) -> None:
    here, listener = served.segmenter(ct), Listener()
    with served.serving():
        there = segment_remotely(ct, served.way, tmp_path / "out", "Müller", ("liver", "spleen"), preview=False,
                                 reporter=listener)
    labels = read_labelmap(there.files["labelmap"])
    assert labels.grid.size == ct.grid.size
    assert np.array_equal(labels.array == 1, here.array == 1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "Müller.labels.nii.gz", "Müller.seg.nrrd", "Müller.volumes.csv"]
    assert [row["organ"] for row in there.organs] == ["liver", "spleen"]
    assert listener.steps
    # nothing is kept, and the log names nobody
    assert list(served.scratch.iterdir()) == []
    assert served.log[0].startswith("request 1: done")
    assert "Müller" not in served.log[0]


def test_the_command_segments_on_another_computer(served, tmp_path, ct, capfd) -> None:
    write_ct(tmp_path / "scan.nii.gz", ct)
    with served.serving():
        words = ["segment", str(tmp_path / "scan.nii.gz"), "-o", str(tmp_path / "out"), "--organs", "liver",
                 "--on", f"http://127.0.0.1:{served.port}", "--token-file", str(served.token_file), "--json-events"]
        assert main(words) == 0
        assert main(words) == 1  # an earlier result is not replaced unasked
        assert main([*words, "--model", "other"]) == 2
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    result = next(event for event in events if event["event"] == "result" and "files" in event)
    assert Path(result["files"]["segmentation"]).is_file()
    assert [row["organ"] for row in result["organs"]] == ["liver"]


def test_problems_are_told_without_paths_of_the_server(served, tmp_path, ct) -> None:
    picture = replace(ct, array=np.full(ct.array.shape, 7, np.int16))
    with served.serving():
        with pytest.raises(UserError) as raised:
            segment_remotely(picture, served.way, tmp_path / "out", "x")
        with pytest.raises(UserError, match="livr"):
            segment_remotely(ct, served.way, tmp_path / "out", "x", ("livr",))
    assert raised.value.problem.code is Code.NOT_A_CT
    assert str(raised.value).startswith("the CT: expected a CT in HU")
    assert list((tmp_path / "out").iterdir()) == []


# --- who may

def test_nothing_without_the_token(served) -> None:
    token = read_token(served.token_file)
    with served.serving():
        for header in (None, "Bearer x", token, f"Basic {token}", f"Bearer {token}x"):
            headers = {} if header is None else {"Authorization": header}
            for method, path in (("GET", "/health"), ("POST", "/segment")):
                status, body = served.ask(path, headers, method)
                assert (status, json.loads(body)) == (401, {"error": "the token is missing or wrong"})


def test_health_and_unknown_paths(served) -> None:
    with served.serving():
        status, body = served.ask("/health", served.bearer)
        assert (status, json.loads(body)["model"]) == (200, "small")
        assert served.ask("/../../etc/passwd", served.bearer)[0] == 404
        assert served.ask("/elsewhere", served.bearer, "POST")[0] == 404
        assert served.ask("/segment", served.bearer, "PUT")[0] == 501


def test_a_wrong_token_is_told_to_the_user(served, tmp_path, ct) -> None:
    make_token(tmp_path / "other")
    with served.serving(), pytest.raises(UserError, match="token") as raised:
        segment_remotely(ct, replace(served.way, token_file=tmp_path / "other"), tmp_path / "out", "x")
    assert raised.value.problem.code is Code.SERVER_REFUSED


def test_the_token_is_compared_whole() -> None:
    assert is_token("Bearer abc", "abc")
    for header in (None, "", "Bearer", "Bearer ab", "Bearer abcd", "bearer abc", "abc", "Bearer \u00e4"):
        assert not is_token(header, "abc")


@pytest.mark.skipif(sys.platform == "win32", reason="rights of files are others there")
def test_the_token_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "token"
    assert make_token(path)
    assert not make_token(path)  # a second start keeps it
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(read_token(path)) > 40
    path.chmod(0o644)
    with pytest.raises(UserError, match="only its owner"):
        read_token(path)
    path.chmod(0o600)
    path.write_text("short\n")
    with pytest.raises(UserError, match="20 letters"):
        read_token(path)


def test_only_this_computer_unless_told(capsys) -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.5", "hospital.example")))
    assert main(["serve", "--host", "0.0.0.0"]) == 2
    assert "certificate" in capsys.readouterr().err


# --- how much

def test_too_large_a_ct_is_refused_before_it_is_sent(served, tmp_path, ct) -> None:
    with served.serving(Limits(bytes=1000)):
        with pytest.raises(UserError, match="at most 0 MiB"):
            segment_remotely(ct, served.way, tmp_path / "out", "x")
        for header, status in (("Content-Length: 999999999", 413), ("Content-Length: -5", 411),
                               ("Content-Length: 999999999999999999", 411), ("Transfer-Encoding: chunked", 411)):
            name, value = header.split(": ")
            assert served.ask("/segment", served.bearer | {name: value}, "POST")[0] == status


def test_a_head_that_understates_the_size_gains_nothing(segmenter, tmp_path) -> None:
    sent = io.BytesIO()
    Service(segmenter, tmp_path, Limits(bytes=100)).answer(io.BytesIO(RequestHead(101).line() + b"x" * 200), sent.write)
    first = json.loads(sent.getvalue().splitlines()[0])
    assert (first["event"], first["code"]) == ("error", "too-large")
    assert list(tmp_path.iterdir()) == []


class Stages(Reporter):
    """Remembers what was reported as being done; breaks off at a stage that is not one of `patient`."""

    def __init__(self, *patient: str) -> None:
        self.stages: set[str] = set()
        self.patient = patient

    def progress(self, stage: str, done: int, total: int) -> None:
        self.stages.add(stage)
        if self.patient and stage not in self.patient:
            raise KeyboardInterrupt


def test_more_than_may_wait_are_refused(served, tmp_path, ct, monkeypatch) -> None:
    """One is worked at, one waits, the third is refused; the others get their results."""
    monkeypatch.setattr(service, "LOOK_S", 0.02)
    inside, go_on, listener = threading.Event(), threading.Event(), Stages()
    usual, results = Segmenter.__call__, []

    def slow(self, *arguments, **settings):
        inside.set()
        go_on.wait(60)
        return usual(self, *arguments, **settings)

    def ask(name: str) -> None:
        results.append(segment_remotely(ct, served.way, tmp_path / name, name, ("liver",), preview=False,
                                        reporter=listener))

    monkeypatch.setattr(Segmenter, "__call__", slow)
    with served.serving(Limits(waiting=1)):
        threads = [threading.Thread(target=ask, args=(name,)) for name in ("a", "b")]
        for thread in threads:
            thread.start()
        inside.wait(60)
        wait(lambda: "waiting for the CT before" in listener.stages)
        with pytest.raises(UserError, match="too many others"):
            segment_remotely(ct, served.way, tmp_path / "c", "c")
        go_on.set()
        for thread in threads:
            thread.join(120)
    assert len(results) == 2


def test_who_says_nothing_is_cut_off_and_keeps_nobody_waiting(served, monkeypatch) -> None:
    monkeypatch.setattr(http_server, "GREETING_S", 2.0)
    with served.serving():
        links = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(6)]
        assert served.ask("/health", served.bearer)[0] == 200
        with contextlib.suppress(OSError):  # a byte now and then does not help
            for letter in b"GET /health HTTP/1.1\r\nX: " + b"y" * 40:
                links[0].send(bytes([letter]))
                time.sleep(0.08)
        for link in links:
            link.settimeout(20)
            with contextlib.suppress(ConnectionResetError):
                assert link.recv(10) == b""
            link.close()


def test_too_many_connections_are_closed(served) -> None:
    with served.serving():
        links = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(http_server.MOST_CONNECTIONS + 9)]
        time.sleep(1.0)
        closed = 0
        for link in links:
            link.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                closed += link.recv(1) == b""
            link.close()
        assert closed == 9


def test_an_upload_that_breaks_off_leaves_nothing(served) -> None:
    with served.serving(Limits(waiting=0)):
        for _ in range(3):  # each gives its place back
            link = served.begin("/segment", served.bearer | {"Content-Length": "5000"})
            link.send(RequestHead(4000).line() + b"x" * 10)
            link.close()
        wait(lambda: not list(served.scratch.iterdir()))


def test_work_ends_when_nobody_waits_for_it(served, tmp_path, ct) -> None:
    with served.serving():
        with pytest.raises(KeyboardInterrupt):
            segment_remotely(ct, served.way, tmp_path / "out", "x",
                             reporter=Stages("sending the CT", "waiting for the CT before"))
        wait(lambda: not list(served.scratch.iterdir()))
        # it is free for the next one
        assert segment_remotely(ct, served.way, tmp_path / "out", "y", ("liver",)).files
    assert list((tmp_path / "out").glob("x*")) == []


# --- TLS

@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the program openssl")
def test_tls_is_spoken_and_the_server_is_checked(served, tmp_path, ct) -> None:
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-out", certificate, "-keyout", key], check=True,
                   capture_output=True)
    with served.serving(tls=tls_context(certificate, key)):
        way = replace(served.way, scheme="https")
        result = segment_remotely(ct, replace(way, authority=certificate), tmp_path / "out", "x", ("liver",))
        assert result.files["segmentation"].is_file()
        with pytest.raises(UserError, match="certificate"):
            segment_remotely(ct, way, tmp_path / "out", "y")
        with pytest.raises(UserError):  # plain HTTP gets nothing
            segment_remotely(ct, served.way, tmp_path / "out", "y")


def test_no_certificate_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("x")
    with pytest.raises(UserError, match="certificate"):
        tls_context(tmp_path / "x.pem", None)
