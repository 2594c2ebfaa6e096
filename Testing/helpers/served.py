"""A server that segments, on a free port of this computer, with what it asks and logs."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

from PartialOrganSegLib.segmenting.segmenter import Segmenter
from PartialOrganSegLib.serving.connection import Connection
from PartialOrganSegLib.serving.http_server import HttpServer
from PartialOrganSegLib.serving.service import Limits, Service
from PartialOrganSegLib.serving.token import make_token, read_token


class Served:
    """`scratch`: the server's folder. `log`: its lines. `serving(...)` runs it for a block."""

    def __init__(self, segmenter: Segmenter, folder: Path) -> None:
        self.segmenter, self.scratch, self.token_file = segmenter, folder / "scratch of the server", folder / "token"
        self.scratch.mkdir()
        make_token(self.token_file)
        self.log: list[str] = []
        self.port = 0

    @contextlib.contextmanager
    def serving(self, limits: Limits | None = None, tls: ssl.SSLContext | None = None) -> Iterator[Served]:
        service = Service(self.segmenter, self.scratch, limits, self.log.append)
        with HttpServer("127.0.0.1", 0, service, read_token(self.token_file), tls) as server:
            self.port = server.server_port
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()

    @property
    def way(self) -> Connection:
        """To the server."""
        return Connection("http", "127.0.0.1", self.port, token_file=self.token_file)

    @property
    def bearer(self) -> dict[str, str]:
        """The header that shows the token."""
        return {"Authorization": f"Bearer {read_token(self.token_file)}"}

    def begin(self, path: str, headers: dict[str, str], method: str = "POST") -> http.client.HTTPConnection:
        """Sends the headers of a request, as they are given, and nothing else."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        link.putrequest(method, path)
        for name, value in headers.items():
            link.putheader(name, value)
        link.endheaders()
        return link

    def ask(self, path: str, headers: dict[str, str], method: str = "GET") -> tuple[int, bytes]:
        """Status and body of an answer."""
        link = self.begin(path, headers, method)
        try:
            answer = link.getresponse()
            return answer.status, answer.read()
        finally:
            link.close()
