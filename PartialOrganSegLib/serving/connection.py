"""The way to another computer: an HTTP address with a token, or SSH with the keys that are set up for it."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import re
import selectors
import shlex
import socket
import ssl
import subprocess
import tempfile
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import Code, Problem, UsageError, UserError
from ..events import Reporter
from .framing import PIECE, RequestHead, Source, pieces_of
from .http_server import is_loopback
from .token import default_token_file, read_token

CONNECT_S, ANSWER_S = 30.0, 1800.0  # until there is a connection, and between two pieces of an answer
GO_AHEAD_S = 5.0  # for a server to say that it takes the CT; what stands in between may want all of it before it asks
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]*")  # no hyphen first: ssh would take it for an option
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_COMMAND = "partialorganseg"


@dataclass(frozen=True)
class Connection:
    """Where to: see `parsed`. `token_file` (None: the default one) and `authority`, a certificate to trust in PEM, are
    for http and https alone."""

    scheme: str
    host: str
    port: int | None
    user: str = ""
    command: str = _COMMAND
    token_file: Path | None = None
    authority: Path | None = None


def parsed(address: str, token_file: Path | None = None, authority: Path | None = None) -> Connection:
    """`http://host:port`, `https://host:port` or `ssh://user@host:port/path/of/partialorganseg`. Raises UsageError."""
    try:
        parts = urllib.parse.urlsplit(address)
        host, port, user = parts.hostname or "", parts.port, parts.username or ""
    except ValueError:
        parts, host, port, user = urllib.parse.urlsplit(""), "", None, ""
    fits = parts.scheme in ("http", "https", "ssh") and _HOST.fullmatch(host) is not None and not parts.password
    fits = fits and not parts.query and not parts.fragment and (not user or _USER.fullmatch(user) is not None)
    if parts.scheme != "ssh":
        fits = fits and parts.path in ("", "/") and not user
    if not fits:
        raise UsageError(code=Code.VALUE_UNFIT, subject="--on", found=f"'{address}'",
                         expected="http://HOST:PORT, https://HOST:PORT or ssh://USER@HOST")
    command = _COMMAND
    if parts.path not in ("", "/"):
        command = urllib.parse.unquote(parts.path)
    return Connection(parts.scheme, host, port, user, command, token_file, authority)


@contextlib.contextmanager
def opened(connection: Connection, head: RequestHead, upload: Path, reporter: Reporter) -> Iterator[Source]:
    """Sends a request; yields its answer. Leaving early ends the work over there, too. Raises UserError."""
    if connection.scheme == "ssh":
        with _by_ssh(connection, head, upload, reporter) as answer:
            yield answer
    else:
        with _by_http(connection, head, upload, reporter) as response:
            yield response


def _sent(head: RequestHead, upload: Path, reporter: Reporter) -> Iterator[bytes]:
    """The request in pieces."""
    yield head.line()
    sent = 0
    for piece in pieces_of(upload):
        yield piece
        sent += len(piece)
        reporter.progress("sending the CT", sent // PIECE, max(1, head.size // PIECE))


@contextlib.contextmanager
def _by_http(connection: Connection, head: RequestHead, upload: Path, reporter: Reporter) -> Iterator[Source]:
    token = read_token(connection.token_file or default_token_file())
    address = f"{connection.scheme}://{connection.host}:{connection.port or ''}".rstrip(":")
    link: http.client.HTTPConnection
    if connection.scheme == "https":
        link = http.client.HTTPSConnection(connection.host, connection.port, timeout=CONNECT_S,
                                           context=_trusting(connection.authority))
    else:
        if not is_loopback(connection.host):
            reporter.warning(Problem(Code.UNSAFE_FILE, address, found="the CT and the token travel readable",
                                     hint="use https"))
        link = http.client.HTTPConnection(connection.host, connection.port, timeout=CONNECT_S)
    try:
        link.putrequest("POST", "/segment")
        link.putheader("Authorization", f"Bearer {token}")
        link.putheader("Content-Type", "application/octet-stream")
        link.putheader("Content-Length", str(len(head.line()) + head.size))
        link.endheaders()
        with _exchanged(link.sock, _sent(head, upload, reporter)) as response:
            if response.status != http.HTTPStatus.OK:
                raise UserError(code=Code.SERVER_REFUSED, subject=address, found=_reason(response))
            yield response
    except (OSError, http.client.HTTPException) as error:
        raise UserError(code=Code.DOWNLOAD_FAILED, subject=address, expected="an answer",
                        found=f"{getattr(error, 'strerror', None) or error or type(error).__name__}") from None
    finally:
        link.close()


def _exchanged(sock: socket.socket, pieces: Iterator[bytes]) -> http.client.HTTPResponse:
    """Sends a request's body unless the server refuses it; its answer, of which the status was read. Raises OSError and
    HTTPException."""
    response = None
    # The connection's own `getresponse` would take the socket away.
    with contextlib.suppress(TimeoutError):
        response = _answer(sock, GO_AHEAD_S)
    if response is None or response.status == http.HTTPStatus.OK:
        sock.settimeout(CONNECT_S)
        # A server that has found something amiss may close before it has everything; it has said what, then.
        with contextlib.suppress(ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            for piece in pieces:
                if _has_more_to_say(sock):
                    break
                sock.sendall(piece)
    if response is None:
        return _answer(sock, ANSWER_S)
    sock.settimeout(ANSWER_S)
    return response


def _answer(sock: socket.socket, patience_s: float) -> http.client.HTTPResponse:
    """Reads the status of an answer. Raises OSError and HTTPException."""
    sock.settimeout(patience_s)
    response = http.client.HTTPResponse(sock, method="POST")
    response.begin()
    return response


def _has_more_to_say(sock: socket.socket) -> bool:
    """Whether the other side has sent something, which it does before it has the whole CT only to end the request."""
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        return bool(selector.select(0))


def _trusting(authority: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authority)
    except (OSError, ValueError) as error:
        raise UserError(code=Code.WRONG_FORMAT, subject=authority, expected="a certificate in PEM",
                        found=error) from None


def _reason(response: http.client.HTTPResponse) -> str:
    """Why a server refused: its own words where it gave some."""
    try:
        return f"refused: {json.loads(response.read(4096))['error']!s:.200}"
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return f"refused with status {response.status}"


@contextlib.contextmanager
def _by_ssh(connection: Connection, head: RequestHead, upload: Path, reporter: Reporter) -> Iterator[Source]:
    target = connection.host
    if connection.user:
        target = f"{connection.user}@{target}"
    port = []
    if connection.port is not None:
        port = ["-p", str(connection.port)]
    # BatchMode: a question for a password would wait for ever where nobody can answer it
    command = ["ssh", "-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_S:.0f}", *port, "--", target,
               f"{shlex.quote(connection.command)} serve --once"]
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        except OSError as error:
            raise UserError(code=Code.PACKAGE_MISSING, subject="ssh", expected="a program of that name",
                            found=error.strerror or error) from None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            try:
                for piece in _sent(head, upload, reporter):
                    process.stdin.write(piece)
                process.stdin.flush()
            except OSError as error:
                # of a program that has ended, which says why; Windows has the other word for it
                if error.errno not in (errno.EPIPE, errno.EINVAL):
                    raise
            first = process.stdout.peek(1)  # type: ignore[attr-defined]  # a BufferedReader, as bufsize is not 0
            if not first:
                raise UserError(code=Code.DOWNLOAD_FAILED, subject=f"ssh://{target}", expected="an answer",
                                found=_last_line(errors))
            yield process.stdout
        finally:
            # closes the pipes, so that the work ends over there when nobody waits any more
            process.kill()
            with contextlib.suppress(OSError):
                process.stdin.close()
            process.stdout.close()
            process.wait()


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read(1 << 16).decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "none")[:300]
