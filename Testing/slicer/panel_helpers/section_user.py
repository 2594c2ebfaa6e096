"""A section of the panel with a user and a command that do what a test says."""

from __future__ import annotations

from .doubles import Doubles


class SectionUser:
    """Presses what a test says; `answers` and `options` are those of `Doubles`."""

    def __init__(self, make_panel, name, *answers, **options):
        self.services = Doubles(*answers, **options)
        self.panel = make_panel(self.services)
        self.section = self.panel.section(name)
        self.ui = self.section.ui

    @property
    def process(self):
        """The command started last."""
        return self.services.processes[-1]

    @property
    def said(self):
        """The line below the buttons."""
        return self.section.strip.text.text

    def option(self, name):
        """What the command was given as `name`."""
        arguments = self.process.arguments
        return arguments[arguments.index(name) + 1]
