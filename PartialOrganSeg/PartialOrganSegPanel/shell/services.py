"""What the panel needs of the outside world, as protocols; tests hand in their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from .child import ChildProcess
from .dialogs import SlicerDialogs
from .installer import Need, SlicerInstaller


class Process(Protocol):
    """A run of the library's command. Callbacks arrive in the main thread, `on_finished` exactly once after `start`."""

    on_line: Callable[[str], None]
    on_log: Callable[[str], None]
    on_finished: Callable[[int, bool], None]  # exit code, whether it ended by a signal or could not start

    def start(self, arguments: Sequence[str]) -> None:
        """Starts `python -m PartialOrganSegLib ARGUMENTS`; returns at once."""

    def send(self, line: str) -> None:
        """Writes a line to the command's standard input."""

    def cancel(self) -> None:
        """Asks the command to end; after a moment its whole process tree is killed."""

    def kill(self) -> None:
        """Kills the whole process tree now."""


class Installer(Protocol):
    """Installs the Python packages the library needs."""

    def missing(self) -> list[Need]:
        """What is not installed, with sizes; empty when the library can run."""

    def install(self, wheels: Path | None) -> None:
        """Installs what is missing, from a folder of wheels if one is given. Raises InstallError."""

    def install_extension(self, name: str) -> None:
        """Installs an extension of Slicer, which must be restarted then. Raises InstallError."""


class Dialogs(Protocol):
    """Questions and messages to the user."""

    def ask(self, title: str, text: str, choices: Sequence[tuple[str, str]]) -> str | None:
        """Key of the chosen one of `choices` (key, button text), None for Cancel."""

    def show_log(self, title: str, text: str) -> None:
        """A long text to read and copy."""

    def choose_folder(self, title: str) -> Path | None:
        """An existing folder, None for Cancel."""

    def choose_file(self, title: str, pattern: str, new_name: str = "") -> Path | None:
        """A file to read, or with `new_name` (the suggestion) one to write; None for Cancel. `pattern` as Qt has it."""

    def choose_files(self, title: str, pattern: str) -> list[Path]:
        """Any number of files to read; none for Cancel."""

    def choose_some(self, title: str, text: str, items: Sequence[tuple[str, str]]) -> list[str] | None:
        """Keys of the ticked ones of `items` (key, what is shown), None for Cancel."""


@dataclass
class Services:
    """The real ones, unless others are given."""

    new_process: Callable[[], Process] = ChildProcess
    installer: Installer = field(default_factory=SlicerInstaller)
    dialogs: Dialogs = field(default_factory=SlicerDialogs)
