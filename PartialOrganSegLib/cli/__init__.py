"""The command `partialorganseg`: reads the command line, runs one command, turns every end into one line and a code.

Exit codes: 0 done, 1 failed, 2 wrong use, 130 cancelled. Each command is a module in this folder with `HELP`,
`EXAMPLE`, `add_arguments(parser)` and `run(arguments, reporter) -> int`; they import what is heavy when they run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn, TextIO

from .. import __version__, logfile
from ..cancelling import cancellable, ignore_signals
from ..errors import Code, Problem, UsageError, UserError
from ..events import ConsoleReporter, JsonReporter, Reporter
from . import check, doctor, evaluate, export, finetune, listing, models, phantom, scribble, segment, train
from .options import JSON_EVENTS

COMMANDS = {"segment": segment, "models": models, "phantom": phantom, "scribble": scribble, "doctor": doctor,
            "train": train, "finetune": finetune, "evaluate": evaluate, "check": check, "export": export,
            "list": listing}
DONE, FAILED, WRONG_USE, CANCELLED = 0, 1, 2, 130


class _Parser(argparse.ArgumentParser):
    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see: {self.prog} --help)")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; imports nothing heavy, so that --help is quick."""
    parser = _Parser(prog="partialorganseg", description="Segments 16 abdominal organs of a CT. Research only.",
                     epilog="example: partialorganseg segment scan.nii.gz -o results")
    parser.add_argument("--version", action="version", version=f"partialorganseg {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.HELP, description=module.HELP,
                                      epilog=f"example:\n  {module.EXAMPLE}",
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
        module.add_arguments(command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code. Without `argv` it is the whole process's command line."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a console that cannot show a path's letters still goes on
    with contextlib.ExitStack() as stack:
        stack.enter_context(cancellable())
        if JSON_EVENTS in words:
            reporter: Reporter = JsonReporter(stack.enter_context(_private_stdout()))
        else:
            reporter = ConsoleReporter()
        stack.callback(reporter.close)
        stack.enter_context(_former_names_warned_of(reporter))
        code = _guarded(words, reporter)
        if code == CANCELLED and argv is None:
            ignore_signals()
    return code


@contextlib.contextmanager
def _former_names_warned_of(reporter: Reporter) -> Iterator[None]:
    """A former name that still works is a warning as any other; all else goes Python's usual way."""
    show = warnings.showwarning

    def warn(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if category is FutureWarning and str(message).find("found its former") >= 0:
            reporter.warning(Problem.parsed(str(message), Code.FORMER_NAME))
        else:
            show(message, category, *place, **more)

    with warnings.catch_warnings():
        warnings.simplefilter("default", FutureWarning)
        warnings.showwarning = warn
        yield


def _guarded(argv: Sequence[str], reporter: Reporter) -> int:
    try:
        arguments = build_parser().parse_args(argv)
        return COMMANDS[arguments.command].run(arguments, reporter)
    except KeyboardInterrupt:
        reporter.close()
        reporter.error(Problem(Code.CANCELLED, found="cancelled"))
        return CANCELLED
    except UserError as error:
        reporter.close()
        reporter.error(error.problem)
        return WRONG_USE if isinstance(error, UsageError) else FAILED
    except BrokenPipeError:  # e.g. `| head`: whoever read our output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FAILED
    except Exception as error:
        reporter.close()
        reporter.error(Problem(Code.INTERNAL, found=logfile.explain(error, logfile.user_log())))
        return FAILED


@contextlib.contextmanager
def _private_stdout() -> Iterator[TextIO]:
    """A stream to stdout for the events alone: prints of ours and of C++ libraries go to stderr meanwhile."""
    sys.stdout.flush()
    private = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr), open(private, "w", encoding="utf-8", closefd=False) as stream:
            yield stream
    finally:
        os.dup2(private, 1)
        os.close(private)
