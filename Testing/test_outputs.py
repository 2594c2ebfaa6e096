"""Results appear all at once, and no failure costs an earlier one."""

import os
from pathlib import Path

import pytest

from PartialOrganSegLib import atomic
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.outputs import all_at_once, finish_leftovers


def write_results(folder: Path, text: str) -> None:
    with all_at_once(folder, "case") as scratch:
        for name in ("a.txt", "b.txt"):
            (scratch / name).write_text(text)


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def test_results_replace_earlier_ones_together(tmp_path: Path) -> None:
    write_results(tmp_path, "first")
    write_results(tmp_path, "second")
    assert texts(tmp_path) == {"a.txt": "second", "b.txt": "second"}
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("can_be_put_back", [True, False])
def test_a_failure_costs_no_earlier_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_be_put_back: bool,
                                           links: bool) -> None:
    """As on Windows while another program has a file open: the new b.txt cannot be put in place, nor the old one.

    Where a file can have two names (`links`), the old one is never away.
    """
    write_results(tmp_path, "first")
    replace = os.replace

    def no_links(source: Path, target: Path) -> None:
        raise OSError(1, "this file system has none")

    if not links:
        monkeypatch.setattr(os, "link", no_links)

    def locked(source: Path, target: Path) -> None:
        # Where the old results wait while the new ones are put in place.
        from_earlier = Path(source).parent.name == "earlier"
        if Path(target) == tmp_path / "b.txt" and not (from_earlier and can_be_put_back):
            raise PermissionError(13, "in use by another program", str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", locked)
    with pytest.raises(UserError, match="in use by another program") as caught:
        write_results(tmp_path, "second")
    assert not list(tmp_path.glob(".partial-*"))
    if can_be_put_back or links:
        assert texts(tmp_path) == {"a.txt": "first", "b.txt": "first"}
        return
    assert texts(tmp_path) == {"a.txt": "first"}
    (rescued,) = tmp_path.glob("earlier-results-*")
    assert texts(rescued) == {"b.txt": "first"}
    assert str(rescued) in str(caught.value)


@pytest.mark.parametrize("links", [True, False])
def test_results_wait_for_a_virus_scanner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    """As on Windows, where a scanner has a file open for a moment after it was written: minutes of work wait for it."""
    folder = tmp_path / "Müller, Jörg"
    folder.mkdir()
    write_results(folder, "first")
    replace, pauses, looked_at = os.replace, [], set()

    def busy_once(source: Path, target: Path) -> None:
        if source not in looked_at:
            looked_at.add(source)
            error = PermissionError(13, "in use by another program", str(source))
            error.winerror = 32
            raise error
        replace(source, target)

    def no_links(source: Path, target: Path) -> None:
        raise OSError(1, "this file system has none")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(os, "replace", busy_once)
    monkeypatch.setattr(atomic.time, "sleep", pauses.append)
    write_results(folder, "second")
    assert texts(folder) == {"a.txt": "second", "b.txt": "second"}
    assert len(pauses) == (2 if links else 4)


UID = "1.3.6.1.4.1.14519.5.2.1.6279.6001.298806137288633453246975630178"


def test_the_hidden_folder_leaves_room_in_a_path_of_windows(tmp_path: Path) -> None:
    """259 letters in all, and a CT's name is in that of its files: where these fit, the hidden ones should, nearly."""
    folder = tmp_path / "Leber-Studie"
    folder.mkdir()
    with all_at_once(folder, UID) as scratch:
        assert len(str(scratch)) - len(str(folder)) <= 42
        (scratch / f"{UID}.labels.nii.gz").write_text("labels")
    assert texts(folder) == {f"{UID}.labels.nii.gz": "labels"}


def test_leftovers_of_earlier_versions_are_finished_too(tmp_path: Path) -> None:
    for number, name in enumerate((UID, UID + "1")):
        new = tmp_path / f".partial-{name}-ab_{number}" / "new"
        new.mkdir(parents=True)
        (new.parent / "earlier").mkdir()
        (new / f"{name}.txt").write_text(name)
    assert finish_leftovers(tmp_path, UID)
    assert texts(tmp_path) == {f"{UID}.txt": UID}
    assert [path.name for path in tmp_path.glob(".partial-*")] == [f".partial-{UID}1-ab_1"]
