"""Models that are listed and downloaded on request: what is told before, what is refused, and that nothing is left."""

import io
import os
import urllib.error
import zipfile
from pathlib import Path

import pytest

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.models import downloads, http_file
from PartialOrganSegLib.models.bundle import Bundle, load_bundle
from Testing.helpers.nnunet_folder import plans_of, write_results

pytestmark = pytest.mark.usefixtures("models")


def archive_of(folder: Path) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        for path in folder.rglob("*"):
            if path.is_file():
                packed.write(path, path.relative_to(folder))
        # A results folder holds more than a model; only what is needed is read.
        packed.writestr("fold_0/progress.png", b"left where it is")
    return content.getvalue()


class Answer(io.BytesIO):
    """What a server sends, without saying how long it is."""

    @property
    def headers(self) -> dict[str, str]:
        return {}


@pytest.fixture
def listed(tmp_path: Path) -> tuple[downloads.Download, bytes]:
    write_results(tmp_path / "r", plans_of(), labels={"background": 0, "liver": 1, "lung_upper_lobe_left": 2})
    entry = next(iter(downloads.downloads().values()))
    return entry, archive_of(tmp_path / "r")


def serve(monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
    def urlopen(url: str, timeout: float) -> Answer:
        if isinstance(answer, Exception):
            raise answer
        return Answer(answer)

    # The one place where the package opens an address.
    monkeypatch.setattr(http_file, "_opened", lambda url: urlopen(url, 0.0))


def test_downloads_are_listed_not_fetched(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    serve(monkeypatch, AssertionError("nothing was asked for"))
    assert main(["models", "list"]) == 0
    out = capsys.readouterr().out
    for entry in downloads.downloads().values():
        assert entry.name in out
        assert entry.url in out
        assert entry.licence in out
        assert f"{entry.megabytes} MB" in out
    assert "SHA-256: not known" in out


def test_a_listed_model_is_installed_on_request(monkeypatch, capsys, listed) -> None:
    entry, content = listed
    serve(monkeypatch, content)
    assert main(["models", "install", entry.name]) == 0
    warnings = capsys.readouterr().err
    assert "no checksum is known" in warnings
    assert "no counterpart for rectum" in warnings
    bundle: Bundle = load_bundle(entry.name)
    assert bundle.label_space.names == ("liver",)
    assert bundle.metadata.partialorganseg.licences.weights == entry.licence


def test_a_virus_scanner_that_has_the_download_open_is_no_failure(monkeypatch, capsys, listed) -> None:
    """Windows removes no file that is open: the model is installed, only the download stays."""
    entry, content = listed
    serve(monkeypatch, content)
    unlink = os.unlink

    def unlink_unless_open(path, **settings):
        if str(path).endswith("download.zip"):
            raise PermissionError(13, "in use by another program", str(path))
        unlink(path, **settings)

    monkeypatch.setattr(os, "unlink", unlink_unless_open)
    assert main(["models", "install", entry.name]) == 0, capsys.readouterr().err
    assert load_bundle(entry.name).label_space.names == ("liver",)


@pytest.mark.parametrize(("answer", "arguments", "message"), [
    (urllib.error.URLError("no route to host"), [], "could not be downloaded: 'no route to host'"),
    (b"<html>", [], "expected a zip of an nnU-Net results folder"),
    (None, ["--sha256", "0" * 64], "wrong checksum")])
def test_a_download_that_fails_leaves_nothing(monkeypatch, capsys, models, listed, answer, arguments, message) -> None:
    entry, content = listed
    serve(monkeypatch, content if answer is None else answer)
    assert main(["models", "install", entry.name, *arguments]) == 1
    assert message in capsys.readouterr().err
    # A half-downloaded model must not be listed as installed.
    assert not models.exists() or not any(models.iterdir())


def test_a_taken_name_is_told_before_the_download(monkeypatch, capsys, models, listed) -> None:
    entry, _ = listed
    (models / entry.name).mkdir(parents=True)
    serve(monkeypatch, AssertionError("nothing should be downloaded"))
    assert main(["models", "install", entry.name]) == 1
    assert "already installed" in capsys.readouterr().err


def test_a_damaged_zip_is_told(monkeypatch, capsys, listed) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("plans.json", bytes(1000))
    damaged = bytearray(content.getvalue())
    damaged[30 + len("plans.json")] = 0xFF  # the first block of no known kind
    serve(monkeypatch, bytes(damaged))
    assert main(["models", "install", listed[0].name]) == 1
    assert "expected a zip of an nnU-Net results folder, found" in capsys.readouterr().err


def test_a_zip_cannot_write_outside(monkeypatch, capsys, models, listed) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        packed.writestr("../../plans.json", "{}")
    serve(monkeypatch, content.getvalue())
    assert main(["models", "install", listed[0].name]) == 1
    assert "points outside of the model" in capsys.readouterr().err
