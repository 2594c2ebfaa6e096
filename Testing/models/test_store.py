"""Installing models: from a folder, a zip, a URL; nothing wrong or unsafe leaves a trace."""

import functools
import http.server
import json
import shutil
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.models.bundle import METADATA
from PartialOrganSegLib.models.checksums import sha256, write_checksums
from PartialOrganSegLib.models.store import find_model, install_model, list_models
from PartialOrganSegLib.models.zip_entries import MOST_ENTRIES
from Testing.helpers.small_bundle import registered, written  # noqa: F401


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "my models"
    monkeypatch.setenv("PARTIALORGANSEG_MODELS", str(folder))
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return written(tmp_path / "source")[0].folder


def zipped(bundle: Path, target: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in bundle.rglob("*"):
            archive.write(path, prefix + path.relative_to(bundle).as_posix())
    return target


def test_install_from_folder_list_and_find(bundle: Path, store: Path) -> None:
    installed = install_model(bundle)
    assert installed.folder == store / "test-model"
    assert "test-model" in [model.name for model in list_models()]
    assert find_model("test-model").folder == installed.folder
    with pytest.raises(UserError, match=r"did you mean 'test-model'"):
        find_model("test-modle")


@pytest.mark.parametrize("prefix", ["", "top/", "deep/down/"])
def test_install_from_zip(bundle: Path, tmp_path: Path, prefix: str) -> None:
    archive = zipped(bundle, tmp_path / "model ä.zip", prefix)
    assert install_model(archive, checksum=sha256(archive)).load_network() is not None
    with pytest.raises(UserError, match="already installed"):
        install_model(archive)
    assert install_model(archive, replace=True).name == "test-model"
    with pytest.raises(UserError, match="wrong checksum"):
        install_model(archive, checksum="0" * 64, replace=True)


@pytest.mark.parametrize("entry", ["../evil.json", "/evil.json", "a/../../evil.json", "C:/evil.json", "..\\evil.json"])
def test_zip_entries_never_leave_the_store(bundle: Path, tmp_path: Path, store: Path, entry: str) -> None:
    archive = zipped(bundle, tmp_path / "model.zip")
    with zipfile.ZipFile(archive, "a") as handle:
        handle.writestr(entry, "{}")
    with pytest.raises(UserError, match=r"points outside|refused|listed"):
        install_model(archive)
    # On Windows a drive or a backslash leaves the folder, elsewhere they are parts of a name: refused everywhere.
    assert not list(tmp_path.rglob("evil.json"))
    assert list(store.iterdir()) == []


def break_weights(folder: Path) -> None:
    path = folder / "models/model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def add_pickle(folder: Path) -> None:
    (folder / "models/model.pkl").write_bytes(b"x")


def drop_manifest(folder: Path) -> None:
    (folder / "configs/checksums.json").unlink()


@pytest.mark.parametrize(("damage", "message"), [(break_weights, "wrong checksum"), (add_pickle, "refused"),
                                              (drop_manifest, "checksums.json")])
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_bundles_leave_no_trace(bundle: Path, tmp_path: Path, store: Path, damage: Callable[[Path], None],
                                        message: str, packed: bool) -> None:
    damage(bundle)
    with pytest.raises(UserError, match=message):
        install_model(zipped(bundle, tmp_path / "m.zip") if packed else bundle)
    assert list(store.iterdir()) == []


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 cut off", b"text"])
def test_what_is_no_bundle(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.zip"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"model\.zip: expected a"):
        install_model(path)


def test_a_zip_whose_compression_is_damaged(tmp_path: Path, store: Path) -> None:
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(METADATA, bytes(1000))
    damaged = bytearray(path.read_bytes())
    damaged[30 + len(METADATA)] = 0xFF  # the first block of no known kind
    path.write_bytes(damaged)
    with pytest.raises(UserError, match="expected a readable zip of a model bundle, found"):
        install_model(path)
    assert list(store.iterdir()) == []


def test_a_shipped_name_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Path) -> None:
    shutil.copytree(bundle, tmp_path / "Resources" / "models" / "test-model")
    monkeypatch.setattr("PartialOrganSegLib.resources.RESOURCES", tmp_path / "Resources")
    with pytest.raises(UserError, match="that of a shipped model"):
        install_model(bundle)


def test_install_from_a_url(bundle: Path, tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.mkdir()
    archive = zipped(bundle, served / "model.zip")

    # A real server on this computer: redirects, lengths and errors are Python's own.
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            """Keeps the test's output clean."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        with pytest.raises(UserError, match="could not be downloaded"):
            install_model(f"{url}/absent.zip")
        assert install_model(f"{url}/model.zip", checksum=sha256(archive)).name == "test-model"
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(UserError, match="could not be downloaded"):
        install_model(f"{url}/model.zip")


def test_other_schemes_are_refused(bundle: Path) -> None:
    with pytest.raises(UserError, match="scheme 'file'"):
        install_model(f"file://{bundle}")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_zips_are_one_line_however_they_are_packed(bundle: Path, tmp_path: Path, models: Path,
                                                           method: int) -> None:
    archive = tmp_path / "model.zip"
    with zipfile.ZipFile(archive, "w", method) as packed:
        for file in sorted(bundle.rglob("*")):
            if file.is_file():
                packed.write(file, file.relative_to(bundle))
    sound = archive.read_bytes()
    refusals = []
    # Wherever the damage is, it must not come out as words of Python's unpackers.
    for place in range(60, len(sound) - 200, max(1, len(sound) // 40)):
        archive.write_bytes(sound[:place] + bytes(8) + sound[place + 8:])
        try:
            install_model(archive, replace=True)
        except UserError as error:
            refusals.append(str(error))
    assert refusals
    assert all(refusal.isprintable() for refusal in refusals)
    assert not list(models.glob(".install*"))


def test_a_zip_of_very_many_files_is_refused(tmp_path: Path, models: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as packed:
        for number in range(MOST_ENTRIES + 1):
            packed.writestr(f"configs/{number}.json", b"")
    with pytest.raises(UserError, match="expected at most 10000 files in the zip, found 10001"):
        install_model(tmp_path / "model.zip")


def test_an_entry_without_a_name_is_one_line(tmp_path: Path, models: Path) -> None:
    archive = tmp_path / "model.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("a", b"1")
    raw = bytearray(archive.read_bytes())
    listed, end = raw.index(b"PK\1\2"), raw.index(b"PK\5\6")
    raw[listed + 28] = 0  # the length of its name in the list of entries
    raw[end + 12] -= 1  # the length of that list
    del raw[listed + 46]
    archive.write_bytes(raw)
    with pytest.raises(UserError, match=r"model\.zip: expected a readable zip of a model bundle, found a damaged one$"):
        install_model(archive)


def test_models_that_cannot_be_used_are_named_in_the_list(bundle: Path, store: Path, capsys) -> None:
    """A model of a later version was left out of the list without a word, and `verify` called it sound."""
    shutil.copytree(bundle, store / "copied ä")
    shutil.copytree(bundle, store / "later")
    file = store / "later" / METADATA
    content = json.loads(file.read_text("utf-8"))
    content["partialorganseg"]["of_a_later_version"] = 1
    file.write_text(json.dumps(content), "utf-8")
    write_checksums(store / "later")
    assert main(["models", "list"]) == 0
    said = capsys.readouterr()
    # Under the name that finds it, not under the one in its metadata.
    assert "copied ä" in said.out
    assert "test-model" not in said.out
    assert find_model("copied ä").name == "test-model"
    expected = r"of_a_later_version: Extra inputs are not permitted; a model of a later version needs a later"
    assert expected in said.err
    assert main(["models", "verify"]) == 1
    said = capsys.readouterr()
    assert "copied ä             ok" in said.out
    assert expected in said.err


def test_a_folder_of_other_files_is_not_replaced(bundle: Path, store: Path, tmp_path: Path) -> None:
    """`--replace` removed whatever had the model's name."""
    (store / "test-model").mkdir(parents=True)
    (store / "test-model" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="test-model: expected a model to replace, found other files"):
        install_model(bundle, replace=True)
    with pytest.raises(UserError, match="'test-model' is already installed"):
        install_model(bundle)
    assert [path.name for path in store.rglob("*")] == ["test-model", "notes.txt"]
    with pytest.raises(UserError, match=r"found a file; a zip of a model is installed by: partialorganseg models ins"):
        find_model(zipped(bundle, tmp_path / "model ä.zip"))


def test_a_link_to_a_model_is_replaced_without_a_trace(bundle: Path, store: Path, tmp_path: Path) -> None:
    """Who keeps models on another disk: the hidden folder in which the new one was put together stayed for ever."""
    shutil.copytree(bundle, tmp_path / "large disk" / "test-model")
    store.mkdir()
    (store / "test-model").symlink_to(tmp_path / "large disk" / "test-model")
    install_model(bundle, replace=True)
    assert [path.name for path in store.iterdir()] == ["test-model"]
    assert (tmp_path / "large disk" / "test-model" / METADATA).is_file()
