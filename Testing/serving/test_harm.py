"""Files, requests, answers and addresses that are damaged or mean harm: refused in one line, and nothing is written."""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from PartialOrganSegLib.errors import Code, UsageError, UserError
from PartialOrganSegLib.formats.reading import read_labelmap
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.serving import connection, http_server, service
from PartialOrganSegLib.serving.connection import Connection, parsed
from PartialOrganSegLib.serving.framing import RequestHead, read_head
from PartialOrganSegLib.serving.remote import segment_remotely
from PartialOrganSegLib.serving.token import make_token
from PartialOrganSegLib.serving.upload import named_upload
from PartialOrganSegLib.synthesis.phantom import make_phantom
from Testing.helpers import ready_python


@pytest.fixture(scope="module")
def ct() -> Volume:
    return make_phantom(shape_zyx=(24, 24, 24), spacing_zyx=(8.0, 8.0, 8.0))[0]


# --- files of CTs

def nrrd(folder: Path, header: str) -> Path:
    path = folder / "upload"
    path.write_bytes(header.encode() + b"\n\n")
    return path


@pytest.mark.parametrize("field", ["data file: /etc/passwd", "DATA FILE: /etc/passwd", "datafile: LIST\n/etc/passwd",
                                   "data file:ct%03d.raw 1 3 1"])
def test_a_header_that_points_to_a_file_of_the_server_is_refused(tmp_path: Path, field: str) -> None:
    header = f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 8 8 8\nencoding: raw\n{field}"
    for text in (header, header.replace("\n", "\r\n")):
        with pytest.raises(UserError, match="points to another file"):
            named_upload(nrrd(tmp_path, text))


def test_images_that_unpack_to_the_whole_memory_are_refused(tmp_path: Path) -> None:
    path = nrrd(tmp_path, "NRRD0004\ntype: int16\ndimension: 3\nsizes: 6000 6000 6000\nencoding: gzip\nendian: little")
    path.write_bytes(path.read_bytes() + gzip.compress(b"\0" * (1 << 20)))
    with pytest.raises(UserError, match="voxels"):
        named_upload(path)


@pytest.mark.parametrize("content", [b"", b"\0" * 400, b"PK\3\4", b"NRRD0004\n" + b"x" * 70000, b"\x1f\x8bxx",
                                     b"#!/bin/sh\n", gzip.compress(b"\0" * 400, mtime=0), b"\0" * 344 + b"ni1\0",
                                     b"NRRD0004\ntype: x\n\n"])
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "upload").write_bytes(content)
    with pytest.raises(UserError, match="the CT"):
        named_upload(tmp_path / "upload")


def test_an_image_is_named_by_its_content(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.zeros((4, 4, 4), np.int16))
    for suffix in (".nrrd", ".nii", ".nii.gz"):
        sitk.WriteImage(image, str(tmp_path / f"x{suffix}"))
        (tmp_path / f"x{suffix}").rename(tmp_path / "upload")
        assert named_upload(tmp_path / "upload").name == f"ct{suffix}"


# --- requests

@pytest.mark.parametrize("line", [b"", b"\n", b"[]\n", b"{}\n", b'{"version": 1}\n', b'{"version": 1, "size": true}\n',
                                  b'{"version": 1, "size": -1}\n', b'{"version": 2, "size": 1}\n',
                                  b'{"version": 1, "size": 1, "organs": "liver"}\n', b"[" * 70000,
                                  b'{"version": 1, "size": 1}'])
def test_requests_that_are_none(line: bytes) -> None:
    with pytest.raises(UserError, match="expected"):
        read_head(io.BytesIO(line))


def test_a_request_is_read_as_it_was_written() -> None:
    head = RequestHead(5, ("liver",), force=True)
    assert read_head(io.BytesIO(head.line())) == head


# --- answers

@pytest.mark.parametrize("content", [
    b"", b"<html>\n", b'{"event": "end"}\n', b'{"event": "file", "kind": "../../x", "size": 1}\nx',
    b'{"event": "file", "kind": "segmentation", "size": -1}\n', b'{"event": "file", "kind": "table", "size": 9}\nx',
    b'{"event": "progress", "stage": "x", "done": "y", "total": 1}\n', b'{"event": "progress"}\n',
    b'{"event": "result", "organs": []}\n{"event": "end"}\n'])
def test_answers_that_are_none_write_nothing(monkeypatch, tmp_path: Path, ct: Volume, content: bytes) -> None:
    @contextlib.contextmanager
    def answer(*_arguments):
        yield io.BytesIO(content)

    monkeypatch.setattr("PartialOrganSegLib.serving.remote.opened", answer)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError):
        segment_remotely(ct, Connection("http", "x", 1), tmp_path / "out", "x")
    assert list((tmp_path / "out").iterdir()) == []


def test_nobody_answers(tmp_path: Path, ct: Volume) -> None:
    make_token(tmp_path / "token")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError, match="refused") as raised:
        segment_remotely(ct, Connection("http", "127.0.0.1", port, token_file=tmp_path / "token"), tmp_path, "x")
    assert raised.value.problem.code is Code.DOWNLOAD_FAILED


# --- addresses and SSH

def test_addresses() -> None:
    assert parsed("https://gpu.example:8321") == Connection("https", "gpu.example", 8321)
    assert parsed("ssh://me@gpu:2222/opt/env/bin/partialorganseg") == Connection(
        "ssh", "gpu", 2222, "me", "/opt/env/bin/partialorganseg")


@pytest.mark.parametrize("address", [
    "", "gpu", "ftp://gpu", "ssh://-oProxyCommand=x", "ssh://-x@gpu", "http://gpu/path", "http://me:pw@gpu",
    "http://gpu:99999", "http://", "https://gpu?x=1", "ssh://me:pw@gpu", "file:///etc/passwd", "http://a b"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(UsageError, match="http://HOST:PORT"):
        parsed(address)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script in the place of ssh")
@pytest.mark.timeout(300)
def test_by_ssh(tmp_path: Path, monkeypatch, ct: Volume) -> None:
    """A script in the place of ssh runs the command on this computer, in a shell as the real one does."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > '{tmp_path}/asked'\nfor last; do :; done\n"
                                  "exec sh -c \"$last\"\n", encoding="utf-8")
    command = f"exec '{ready_python.program()}' -m PartialOrganSegLib \"$@\""
    (programs / "partialorganseg").write_text(f"#!/bin/sh\n{command}\n", encoding="utf-8")
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "out").mkdir()
    there = segment_remotely(ct, parsed("ssh://me@gpu:2222"), tmp_path / "out", "x", ("liver",), preview=False)
    assert read_labelmap(there.files["labelmap"]).array.shape == ct.array.shape
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[-3:] == ["--", "me@gpu", "partialorganseg serve --once"]
    assert "BatchMode=yes" in asked
    assert not list(Path(tempfile.gettempdir()).glob(f"{service.PREFIX}*"))
    (programs / "ssh").write_text("#!/bin/sh\necho 'Permission denied (publickey).' >&2\nexit 255\n")
    with pytest.raises(UserError, match="Permission denied"):
        segment_remotely(ct, parsed("ssh://gpu"), tmp_path / "out", "y")


def test_why_ssh_ended_is_said_on_windows_too(monkeypatch, tmp_path: Path, ct: Volume) -> None:
    """There it is EINVAL, not a broken pipe, to write to a program that has ended."""
    says = "import sys; print('Permission denied (publickey).', file=sys.stderr); sys.exit(255)"

    class Pipe(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(errno.EINVAL, "Invalid argument")

    class Ended(subprocess.Popen):
        def __init__(self, _command: object, **settings: object) -> None:
            super().__init__([sys.executable, "-c", says], **settings)
            self.wait()
            self.stdin = Pipe()

    monkeypatch.setattr(connection.subprocess, "Popen", Ended)
    with pytest.raises(UserError, match="Permission denied"):
        segment_remotely(ct, parsed("ssh://gpu"), tmp_path, "Jörg")


def test_two_servers_never_share_a_port_on_windows(monkeypatch) -> None:
    """Windows' own option for that is not here: another one stands for it."""
    monkeypatch.setattr(http_server, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_KEEPALIVE, raising=False)
    with http_server.HttpServer("127.0.0.1", 0, None, "token") as server:
        assert not server.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        assert server.socket.getsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE)


def test_ssh_is_missing(monkeypatch, tmp_path: Path, ct: Volume) -> None:
    def no_such_program(*_arguments: object, **_settings: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(connection.subprocess, "Popen", no_such_program)
    with pytest.raises(UserError, match="ssh"):
        segment_remotely(ct, parsed("ssh://gpu"), tmp_path, "x")
