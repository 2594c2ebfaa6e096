"""The service over HTTP: a token for every request, TLS where a certificate is given, few connections, little time."""

from __future__ import annotations

import contextlib
import http.server
import ipaddress
import json
import socket
import socketserver
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import Code, UserError
from .framing import LONGEST_HEAD, PIECE
from .service import Abandoned, Service
from .token import is_token

PATIENCE_S = 30.0  # for a piece to come or go
GREETING_S = 20.0  # until a connection has shown its token
LEAST_RATE = 128 << 10  # bytes a second of an upload, over all of it
MOST_CONNECTIONS = 16
AFTER_REFUSAL_S = 0.5  # a wrong token is answered late
# What a client still sends of a CT that is not taken is read and dropped, for so long and so many bytes.
DROPPING_S, DROPPED_BYTES = 10.0, 64 << 20


def is_loopback(host: str) -> bool:
    """Whether only this computer can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def tls_context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """Raises UserError for files that are no certificate and key."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:
        raise UserError(code=Code.WRONG_FORMAT, subject=certificate, expected="a certificate and its key in PEM",
                        found=error) from None
    return context


class HttpServer(http.server.ThreadingHTTPServer):
    """Listens on `host` and `port` (0: any that is free). Raises UserError where it cannot."""

    daemon_threads = True
    request_queue_size = 8

    def __init__(self, host: str, port: int, service: Service, token: str, tls: ssl.SSLContext | None = None) -> None:
        self.service, self.token, self._tls = service, token, tls
        self._room = threading.BoundedSemaphore(MOST_CONNECTIONS)
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise UserError(code=Code.VALUE_UNFIT, subject=f"{host}:{port}", expected="an address to listen on",
                            found=getattr(error, "strerror", None) or error) from None

    def server_bind(self) -> None:
        if sys.platform == "win32":
            # what lets a server start again at once elsewhere, lets two listen at one port there: nobody knows which
            # of them a request reaches, and another program would get the tokens
            self.allow_reuse_address = False
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        # the library's own asks a name server for the host's name, which may take half a minute
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        request.settimeout(GREETING_S)
        if self._tls is None:
            _Handler(request, client_address, self)
            return
        # here, in the connection's own thread: whoever says nothing must not keep others waiting
        with self._tls.wrap_socket(request, server_side=True) as secured:
            _Handler(secured, client_address, self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke, or never spoke TLS, is no matter of the server's."""


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection, one request."""

    server: HttpServer
    server_version = "PartialOrganSeg"
    sys_version = ""
    timeout = PATIENCE_S

    def setup(self) -> None:
        super().setup()
        # a timeout of sockets begins anew with every byte, this does not
        self._greeting = threading.Timer(GREETING_S, self._cut)
        self._greeting.daemon = True
        self._greeting.start()

    def finish(self) -> None:
        self._greeting.cancel()
        with contextlib.suppress(OSError):
            super().finish()

    def _cut(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        """The service logs what was done, without addresses and names."""

    def version_string(self) -> str:
        return self.server_version

    def do_GET(self) -> None:
        if not self._may():
            return
        if self.path != "/health":
            self._refuse(404, "there is nothing here")
            return
        bundle = self.server.service.segmenter.bundle
        self._respond(200, {"program": f"partialorganseg {__version__}", "model": bundle.name,
                            "organs": list(bundle.label_space.names)})

    def do_POST(self) -> None:
        if not (self._may() and self._segmented()):
            self._drop_what_comes()

    def _segmented(self) -> bool:
        """Whether the whole body was read, or nobody sends any more of it."""
        if self.path != "/segment":
            self._refuse(404, "there is nothing here")
            return False
        length = self.headers.get("Content-Length") or ""
        if self.headers.get("Transfer-Encoding") or not (length.isdecimal() and len(length) < 16):
            self._refuse(411, "the length of the request must be given")
            return False
        if int(length) > self.server.service.limits.bytes + LONGEST_HEAD:
            self._refuse(413, f"at most {self.server.service.limits.bytes >> 20} MiB are taken")
            return False
        with self.server.service.place() as room:
            if not room:
                self._refuse(503, "too many others are waiting; try again later")
                return False
            # before the body is read: a client waits for it, and sends nothing that is refused
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self._end_headers()
            body = _Body(self.rfile, int(length))
            with contextlib.suppress(Abandoned):
                self.server.service.answer(body, self._send)
                return not body.remaining
        return True

    def _drop_what_comes(self) -> None:
        """Lets a client that is still sending find the answer: a connection that is closed on unread bytes breaks, and
        the answer may be lost."""
        end, dropped = time.monotonic() + DROPPING_S, 0
        with contextlib.suppress(OSError):  # also of the time that is over
            # with TLS, what comes after this is not even deciphered
            self.connection.shutdown(socket.SHUT_WR)
            while dropped < DROPPED_BYTES and time.monotonic() < end:
                self.connection.settimeout(max(0.001, end - time.monotonic()))
                data = self.connection.recv(PIECE)
                if not data:
                    return
                dropped += len(data)

    def _send(self, data: bytes) -> None:
        try:
            self.wfile.write(data)
        except OSError as error:
            raise Abandoned from error

    def _may(self) -> bool:
        if is_token(self.headers.get("Authorization"), self.server.token):
            self._greeting.cancel()
            return True
        time.sleep(AFTER_REFUSAL_S)
        self._refuse(401, "the token is missing or wrong")
        return False

    def _refuse(self, status: int, why: str) -> None:
        self._respond(status, {"error": why})

    def _respond(self, status: int, content: dict[str, object]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self._end_headers()
        self.wfile.write(body)

    def _end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Connection", "close")
        self.close_connection = True
        self.end_headers()


class _Body:
    """The body of a request, no byte more; raises Abandoned when it comes too slowly or breaks off."""

    def __init__(self, stream: Any, length: int) -> None:
        self._stream, self.remaining = stream, length
        self._start, self._received = time.monotonic(), 0

    def readline(self, size: int, /) -> bytes:
        return self._bytes_of(lambda: self._stream.readline(min(size, self.remaining)))

    def read(self, size: int, /) -> bytes:
        # read1: what is there, so that the rate is looked at although a piece is slow to come
        return self._bytes_of(lambda: self._stream.read1(min(size, self.remaining)))

    def _bytes_of(self, read: Any) -> bytes:
        if not self.remaining:
            return b""
        try:
            data: bytes = read()
        except OSError as error:
            raise Abandoned from error
        self.remaining -= len(data)
        self._received += len(data)
        if time.monotonic() - self._start > PATIENCE_S + self._received / LEAST_RATE:
            raise Abandoned
        return data
