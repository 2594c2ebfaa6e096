"""Fixtures for every test. Tests never touch the network."""

import gc
import socket
from pathlib import Path

import pytest
from hypothesis import settings

from Testing.helpers import ready_python
from Testing.helpers.longest_files import start_of

settings.register_profile("any machine", deadline=None)  # a slow or busy one fails no test
settings.load_profile("any machine")
# Thousands of tests live side by side in one process: Python would search them for garbage all the time.
gc.set_threshold(50_000, 20, 100)


def pytest_configure(config: pytest.Config) -> None:
    # One for all processes of pytest-xdist, which are started later and see it in their environment.
    config.add_cleanup(ready_python.start())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: start_of(item.nodeid))  # the others as they were, file by file


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection outside this machine fails the test that tries it."""
    # Connections are guarded where all of them pass, whichever library makes them.
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if self.family != socket.AF_UNIX and isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1"):
            raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that models are installed into, of this test alone; made by the first."""
    folder = tmp_path / "Modelle ä"
    monkeypatch.setenv("PARTIALORGANSEG_MODELS", str(folder))
    return folder
