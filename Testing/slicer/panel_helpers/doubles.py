"""Doubles of what `services.py` describes: a process that says what a test lets it say, an installer, a user."""

from __future__ import annotations

import json

from PartialOrganSegPanel.shell.child import ChildProcess
from PartialOrganSegPanel.shell.installer import InstallError, Need
from PartialOrganSegPanel.shell.services import Services


class FakeProcess:
    """Never runs anything: a test plays its lines with `say` and its end with `end`."""

    def __init__(self):
        self.arguments = None
        self.cancelled = self.killed = False
        self.sent = []

    def start(self, arguments):
        self.arguments = list(arguments)

    def send(self, line):
        self.sent.append(json.loads(line))

    def cancel(self):
        self.cancelled = True

    def kill(self):
        self.killed = True

    def say(self, event, **facts):
        self.on_line(json.dumps({"event": event, **facts}))

    def warn(self, problem):
        self.say("warning", **problem.as_event())

    def fail(self, problem):
        """Says why it fails; `end` comes after."""
        self.say("error", **problem.as_event())

    def end(self, code=0, crashed=False):
        self.on_finished(code, crashed)


class FakeInstaller:
    """Lacks `needs` until `install` was called; fails with `error` if that is given, which `extension` would mend.
    `during` is called while it installs."""

    def __init__(self, *needs, error="", extension="", during=lambda: None):
        self.needs, self.error, self.calls = [Need(name, 10) for name in needs], error, []
        self.extension, self.during, self.extensions = extension, during, []

    def missing(self):
        return self.needs

    def install(self, wheels):
        self.calls.append(wheels)
        self.during()
        if self.error:
            raise InstallError(self.error, self.extension)
        self.needs = []

    def install_extension(self, name):
        self.extensions.append(name)


class FakeDialogs:
    """A user who gives the answers in `answers`, one a question, and keeps what was asked in `asked`. Of a list all
    lines are ticked that have the text `tick`."""

    def __init__(self, *answers, folder=None, file=None, files=()):
        self.answers, self.folder, self.file, self.asked, self.logs = list(answers), folder, file, [], []
        self.files, self.tick = list(files), ""

    def ask(self, title, text, choices):
        self.asked.append((title, text, choices))
        return self.answers.pop(0)

    def show_log(self, title, text):
        self.logs.append(text)

    def choose_folder(self, title):
        return self.folder

    def choose_file(self, title, pattern, new_name=""):
        return self.file

    def choose_files(self, title, pattern):
        return self.files

    def choose_some(self, title, text, items):
        self.asked.append((title, text, items))
        return [key for key, shown in items if self.tick in shown]


class Doubles(Services):
    """Services with doubles; `processes` are those that were asked for, `real_process=True` makes real ones."""

    def __init__(self, *answers, real_process=False, installer=None, folder=None):
        self.processes = []

        def new_process():
            self.processes.append(ChildProcess() if real_process else FakeProcess())
            return self.processes[-1]

        super().__init__(new_process, installer or FakeInstaller(), FakeDialogs(*answers, folder=folder))
