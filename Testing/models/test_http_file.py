"""Downloads from bad servers end in one line, in bounded time, and leave nothing behind."""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.models import http_file
from PartialOrganSegLib.models.http_file import fetch_file
from PartialOrganSegLib.models.store import install_model

Handler = Callable[[socket.socket], object]


def serve(handler: Handler, times: int = 1) -> str:
    """The address of a server that answers some requests with `handler`."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(4)

    def answer() -> None:
        for _ in range(times):
            connection, _ = server.accept()
            connection.recv(4096)
            with contextlib.suppress(OSError):
                handler(connection)
            connection.close()

    threading.Thread(target=answer, daemon=True).start()
    return f"http://127.0.0.1:{server.getsockname()[1]}/m.zip"


def sends(*pieces: bytes) -> Handler:
    return lambda connection: [connection.sendall(piece) for piece in pieces]


def drips(connection: socket.socket, head: bytes) -> None:
    connection.sendall(head)
    # A byte at a time never reaches a timeout of the socket, which starts anew with each.
    for _ in range(100):
        connection.sendall(b"x")
        time.sleep(0.2)


OK = b"HTTP/1.1 200 OK\r\n"
BAD: dict[str, Handler] = {
    "garbage": sends(b"\x1b[31mHELLO\x07 not http\r\n\r\n"),
    "long line": sends(OK, b"X: " + b"a" * 100000 + b"\r\n\r\n"),
    "broken chunk": sends(OK, b"Transfer-Encoding: chunked\r\n\r\nZZZ\r\nabc"),
    "short": sends(OK, b"Content-Length: 9999\r\n\r\nPK"), "nothing": sends(), "not found": sends(
        b"HTTP/1.1 404 \x1b[2J\x07\r\n\r\n"), "huge": sends(OK, b"Content-Length: 99999999999999\r\n\r\nPK"),
    "to a file": sends(b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n"),
    "to ftp": sends(b"HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1/x\r\n\r\n"),
    "many headers": sends(OK, b"".join(b"X%d: y\r\n" % number for number in range(500)), b"\r\n")}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("PARTIALORGANSEG_MODELS", str(tmp_path / "models"))
    url = serve(BAD[name])
    with pytest.raises(UserError) as caught:
        install_model(url)
    line = str(caught.value)
    assert line.startswith(url)
    # Names of Python's own errors are words for programmers.
    assert not re.search(r"[A-Z][a-z]+[A-Z]\w*\(|Error\b|Exception|Incomplete", line.removeprefix(url))
    # Bytes that a server sends could be commands to the terminal that shows the message.
    assert line.isprintable()
    assert len(line) < 400
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize("head", [OK + b"Content-Length: 999999\r\n\r\n", OK + b"X-Slow: "])
def test_server_that_sends_byte_by_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    monkeypatch.setattr(http_file, "WITHIN_S", 1.0)
    monkeypatch.setattr(http_file, "TIMEOUT_S", 1.0)
    began = time.monotonic()
    with pytest.raises(UserError, match=r"64 KiB in 1 s|no complete answer|timed out"):
        fetch_file(serve(lambda connection: drips(connection, head)), tmp_path / "a.zip")
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("url", ["http://[::1", "http://a b/", "ftp://a/b", "file:///etc/passwd", "http://"])
def test_addresses_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("PARTIALORGANSEG_MODELS", str(tmp_path / "models"))
    with pytest.raises(UserError) as caught:
        install_model(url)
    assert not re.search(r"[A-Z][a-z]+[A-Z]\w*\(|Error\b|Exception", str(caught.value).removeprefix(url))


def test_whole_file_arrives_over_a_redirect(tmp_path: Path) -> None:
    target = serve(sends(OK, b"Content-Length: 200000\r\n\r\n", b"y" * 200000))
    fetch_file(serve(sends(b"HTTP/1.1 302 Found\r\nLocation: " + target.encode() + b"\r\n\r\n")), tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == b"y" * 200000
