"""A file fetched from a web address: in bounded time and size, over no other protocol than http and https."""

from __future__ import annotations

import http.client
import queue
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from ..errors import Code, UserError

LARGEST_BYTES = 4 << 30
TIMEOUT_S = 30.0  # for a connection, for a piece, and for all headers together
LEAST_BYTES, WITHIN_S = 64 << 10, 30.0  # the least speed: less for so long is a stall
_PIECE = 64 << 10
_SHOWN = 120  # letters of what a server said
_FAILURES = (OSError, http.client.HTTPException, ValueError)  # URLError and timeouts are OSErrors


class _SaferRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https alone, and from https to https alone."""

    def redirect_request(self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any,
                         newurl: str) -> urllib.request.Request | None:
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme != "https" and not (scheme == "http" and req.type == "http"):
            raise UserError(code=Code.DOWNLOAD_FAILED, subject=req.full_url,
                            expected=f"a redirect to {'https' if req.type == 'https' else 'http or https'}",
                            found=f"one to '{scheme}'")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch_file(url: str, target: Path, on_progress: Callable[[int, int], None] = lambda received, size: None) -> None:
    """Writes what `url` holds to `target`; `on_progress` gets bytes received and, where it is known, the size, else 0.

    Raises UserError with one line for an address that is none, for any failure of the connection or server, for a
    stall, for more than `LARGEST_BYTES` and for another number of bytes than the server announced. The caller removes
    what was written then.
    """
    try:
        scheme = urllib.parse.urlsplit(url).scheme
        if scheme not in ("http", "https"):
            raise UserError(code=Code.VALUE_UNFIT, subject=url, expected="a folder, a zip file or an http(s) URL",
                            found=f"scheme '{scheme}'")
        with _opened(url) as response, open(target, "wb") as handle:
            size = _announced(url, response)
            received, since, at_since = 0, time.monotonic(), 0
            while piece := response.read1(_PIECE):
                received += len(piece)
                if received > LARGEST_BYTES:
                    raise _too_large(url)
                handle.write(piece)
                seconds = time.monotonic() - since
                if seconds > WITHIN_S:
                    if received - at_since < LEAST_BYTES:
                        raise UserError(code=Code.DOWNLOAD_FAILED, subject=url,
                                        expected=f"at least {LEAST_BYTES >> 10} KiB in {WITHIN_S:g} s",
                                        found=f"{received - at_since} bytes in {seconds:.0f} s")
                    since, at_since = time.monotonic(), received
                on_progress(received, size)
            if size and received != size:
                raise UserError(code=Code.DOWNLOAD_FAILED, subject=url, expected=f"{size} bytes",
                                found=f"the connection ended after {received}")
    except _FAILURES as error:
        raise UserError(code=Code.DOWNLOAD_FAILED, subject=url,
                        found=f"could not be downloaded: {_reason(error)}") from None


def _reason(error: BaseException) -> str:
    """Why a download failed, in words. What a server sent is quoted with its control bytes escaped, never as it is."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code}, {_quoted(str(error.reason))}"
    if isinstance(error, urllib.error.URLError):
        error = error.reason if isinstance(error.reason, BaseException) else OSError(error.reason)
    # Before OSError and BadStatusLine, both of which it is.
    if isinstance(error, http.client.RemoteDisconnected):
        return "the server closed the connection without an answer"
    if isinstance(error, http.client.LineTooLong):
        return "the server sent a line longer than any of HTTP"
    if isinstance(error, http.client.IncompleteRead):
        return f"the answer breaks off after {len(error.partial)} bytes"
    if isinstance(error, http.client.BadStatusLine):
        return f"the server's answer is not HTTP: {_quoted(str(error.args[0]))}"
    if isinstance(error, (http.client.InvalidURL, UnicodeError)):
        return "this is no address"
    if isinstance(error, http.client.HTTPException):
        return f"the server's answer is not HTTP: {_quoted(str(error))}"
    if isinstance(error, OSError):
        return error.strerror or _quoted(str(error))
    return f"the address or the answer cannot be read: {_quoted(str(error))}"


def _quoted(text: str) -> str:
    return f"{text[:_SHOWN]!r}"


def _opened(url: str) -> http.client.HTTPResponse:
    """The response with its headers read. A server that sends these byte by byte is left after a while."""
    answers: queue.Queue[Any] = queue.Queue()

    def ask() -> None:
        try:
            answers.put(urllib.request.build_opener(_SaferRedirects).open(url, timeout=TIMEOUT_S))
        except BaseException as error:  # handed on to the waiting thread
            answers.put(error)

    # A thread of its own, because a timeout of sockets begins anew with every byte.
    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=2 * TIMEOUT_S)
    except queue.Empty:
        raise TimeoutError(f"no complete answer within {2 * TIMEOUT_S:g} s") from None
    if isinstance(answer, BaseException):
        raise answer
    response: http.client.HTTPResponse = answer
    return response


def _announced(url: str, response: http.client.HTTPResponse) -> int:
    """The size that the server announces, 0 where it does not."""
    text = response.headers.get("Content-Length") or "0"
    size = int(text) if text.isdecimal() and len(text) < 16 else 0
    if size > LARGEST_BYTES:
        raise _too_large(url)
    return size


def _too_large(url: str) -> UserError:
    return UserError(code=Code.TOO_LARGE, subject=url, expected=f"at most {LARGEST_BYTES >> 30} GiB", found="more")
