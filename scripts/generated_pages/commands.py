"""docs/reference/commands.md: every command with its arguments, as --help has them."""

from __future__ import annotations

import argparse

from PartialOrganSegLib.cli import COMMANDS, build_parser

from .markdown import NOTE, code, table

HEAD = """# Commands

{note}
`partialorganseg COMMAND --help` prints the same. `python -m PartialOrganSegLib` is another name of the command.

Exit codes: 0 done, 1 failed, 2 wrong use, 130 cancelled. An error is one line on stderr. A traceback, where nobody
foresaw the error, goes to `partialorganseg.log` in the output folder or in the system's folder for logs.
"""


def page() -> str:
    lines = [HEAD.format(note=NOTE)]
    lines += table(("command", "what it does"),
                   [(f"[`{name}`](#{name})", module.HELP) for name, module in COMMANDS.items()])
    for name, parser in _subcommands(build_parser()).items():
        lines += ["", f"## {name}", "", *_command(parser, f"partialorganseg {name}")]
    return "\n".join(lines) + "\n"


def _command(parser: argparse.ArgumentParser, words: str) -> list[str]:
    lines = [parser.description or "", ""]
    if parser.epilog:
        examples = parser.epilog.removeprefix("example:\n")
        lines += ["```text", *[line.strip() for line in examples.strip().splitlines()], "```", ""]
    lines += table(("argument", "what"), [_row(action) for action in parser._actions if _is_listed(action)])
    for name, parser_below in _subcommands(parser).items():
        lines += ["", f"### {words.removeprefix('partialorganseg ')} {name}", "",
                  *_command(parser_below, f"{words} {name}")]
    return lines


def _is_listed(action: argparse.Action) -> bool:
    """Neither --help, which every command has, nor the choice of a subcommand, which has a section of its own."""
    is_help = isinstance(action, argparse._HelpAction)
    return not is_help and not isinstance(action, argparse._SubParsersAction)


def _row(action: argparse.Action) -> tuple[str, str]:
    name = ", ".join(action.option_strings)
    value = action.metavar or (action.dest.upper() if action.option_strings else action.dest)
    if action.nargs == 0:
        value = ""
    elif action.choices is not None:
        value = ",".join(str(choice) for choice in action.choices)
    # The help may name its default with a percent sign, as argparse has it.
    text = (action.help or "") % {**vars(action), "prog": "partialorganseg"}
    return code(f"{name} {value}".strip()), text


def _subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}
