"""Requests that a server does not take, over HTTP and TLS: the user is told why, and nobody keeps the server busy."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from PartialOrganSegLib.errors import Code, UserError
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.serving import connection, http_server
from PartialOrganSegLib.serving.connection import Connection
from PartialOrganSegLib.serving.http_server import tls_context
from PartialOrganSegLib.serving.remote import segment_remotely
from PartialOrganSegLib.serving.service import Limits, Service
from PartialOrganSegLib.serving.token import make_token
from Testing.helpers.served import Served

BODY = 12 << 20  # bytes, more than sockets hold
SCHEMES = ["http", pytest.param("https", marks=pytest.mark.skipif(shutil.which("openssl") is None,
                                                                  reason="needs the program openssl"))]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its key lies beside it."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-out", path, "-keyout", path.with_suffix(".key")],
                   check=True, capture_output=True)
    return path


@pytest.fixture(scope="module")
def ct() -> Volume:
    noise = np.random.default_rng(0).integers(-1000, 1000, (24, 512, 512)).astype(np.int16)
    return Volume(noise, Grid((512, 512, 24), (1.0, 1.0, 3.0)))


@pytest.fixture
def served(tmp_path: Path) -> Served:
    """Nothing here gets as far as a segmentation."""
    return Served(SimpleNamespace(), tmp_path)


@contextlib.contextmanager
def way_to(served: Served, scheme: str, request: pytest.FixtureRequest, limits: Limits) -> Iterator[Connection]:
    tls = authority = None
    if scheme == "https":
        authority = request.getfixturevalue("certificate")
        tls = tls_context(authority, authority.with_suffix(".key"))
    with served.serving(limits, tls):
        yield replace(served.way, scheme=scheme, authority=authority)


def reason(ct: Volume, way: Connection, folder: Path) -> str:
    with pytest.raises(UserError) as raised:
        segment_remotely(ct, way, folder / "out", "x")
    assert raised.value.code is not Code.DOWNLOAD_FAILED, str(raised.value)
    return str(raised.value)


@pytest.fixture(params=[5.0, 1e-6], ids=["waits", "sends at once"])
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that waits for the server's word, and one whose patience is over before that comes."""
    monkeypatch.setattr(connection, "GO_AHEAD_S", request.param)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.usefixtures("client")
def test_the_reason_is_told(scheme: str, served: Served, tmp_path: Path, ct: Volume,
                            request: pytest.FixtureRequest) -> None:
    make_token(tmp_path / "other")
    with way_to(served, scheme, request, Limits(bytes=1 << 20)) as way:
        assert "at most 1 MiB" in reason(ct, way, tmp_path)
        assert "the token is missing or wrong" in reason(ct, replace(way, token_file=tmp_path / "other"), tmp_path)
    with way_to(served, scheme, request, Limits(waiting=-1)) as way:
        assert "too many others" in reason(ct, way, tmp_path)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_is_amiss_is_told_while_the_ct_is_sent(scheme: str, served: Served, tmp_path: Path, ct: Volume,
                                                    monkeypatch: pytest.MonkeyPatch,
                                                    request: pytest.FixtureRequest) -> None:
    def unknown(*_arguments: object) -> None:
        raise UserError(code=Code.UNKNOWN_NAME, subject="organs", found="'livr'")

    monkeypatch.setattr(Service, "_segmenter_for", unknown)
    with way_to(served, scheme, request, Limits()) as way:
        assert reason(ct, way, tmp_path) == "organs: 'livr'"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_client_that_sends_all_before_it_reads(scheme: str, served: Served, request: pytest.FixtureRequest) -> None:
    with way_to(served, scheme, request, Limits(bytes=1 << 20)) as way:
        link = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
        if way.authority is not None:
            link = http.client.HTTPSConnection("127.0.0.1", served.port, timeout=30,
                                               context=ssl.create_default_context(cafile=way.authority))
        link.request("POST", "/segment", bytes(BODY), served.bearer)
        assert link.getresponse().status == 413
        link.close()


@pytest.mark.parametrize(("piece", "pause_s"), [(1, 0.05), (1 << 16, 0.0)], ids=["drips", "floods"])
def test_who_goes_on_sending_is_cut_off(piece: int, pause_s: float, served: Served,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "DROPPING_S", 1.0 if pause_s else 60.0)
    monkeypatch.setattr(http_server, "DROPPED_BYTES", 1 << 20)
    with served.serving(), socket.create_connection(("127.0.0.1", served.port), timeout=30) as link:
        link.sendall(b"POST /segment HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n")
        assert cut_off(link, bytes(piece), pause_s)


def cut_off(link: socket.socket, piece: bytes, pause_s: float) -> bool:
    """Whether the other side ends a connection into which pieces go on and on."""
    end, sent = time.monotonic() + 20, 0
    while time.monotonic() < end and sent < 64 << 20:
        try:
            sent += link.send(piece)
        except ConnectionError:
            return True
        time.sleep(pause_s)
    return False
