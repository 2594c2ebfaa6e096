"""The command `partialorganseg`: reads the command line, runs one command, turns every end into one line and a code.

Exit codes: 0 done, 1 failed, 2 wrong use, 130 cancelled. Each command is a module in this folder with `HELP`,
`EXAMPLE`, `add_arguments(parser)` and `run(arguments, reporter) -> int`; they import what is heavy when they run. One
whose work can be gone on with has `resume_line(arguments) -> str` too.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, TextIO

from .. import __version__, logfile
from ..cancelling import Resumable, cancellable, ignore_signals
from ..errors import Code, Problem, UsageError, UserError
from ..events import ConsoleReporter, JsonReporter, Reporter
from ..outputs import missing_folders, remove_empty
from ..process_settings import (
    ask_for_large_pages,
    collect_garbage_less_often,
    give_back_large_blocks,
    leave_garbage,
    let_threads_sleep,
)
from ..streams import drop_unwritten, forgiving_output, open_closed_streams
from . import (
    check,
    doctor,
    evaluate,
    export,
    finetune,
    learn,
    listing,
    models,
    phantom,
    rank,
    refine,
    scribble,
    segment,
    serve,
    train,
)
from .options import JSON_EVENTS, refuse_empty_words

COMMANDS: dict[str, ModuleType] = {
    "segment": segment, "serve": serve, "refine": refine, "rank": rank, "models": models, "phantom": phantom,
    "scribble": scribble, "doctor": doctor, "learn": learn, "train": train, "finetune": finetune, "evaluate": evaluate,
    "check": check, "export": export, "list": listing}
DONE, FAILED, WRONG_USE, CANCELLED = 0, 1, 2, 130


class _Parser(argparse.ArgumentParser):
    """Raises its errors instead of printing them and leaving. Takes no shortened options: a new option must not change
    what a script's shortened one means."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        settings["allow_abbrev"] = False
        super().__init__(*arguments, **settings)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see: {self.prog} --help)")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; imports nothing heavy, so that --help is quick."""
    parser = _Parser(prog="partialorganseg", description="Segment 16 abdominal organs of a CT. For research only.",
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
    """Runs one command and returns its exit code. Without `argv`, the process's command line is meant."""
    open_closed_streams()
    ask_for_large_pages()  # before any command makes a tensor
    if argv is None:
        let_threads_sleep()  # before any command imports PyTorch
        collect_garbage_less_often()
        give_back_large_blocks()
    words = list(argv if argv is not None else sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A console that cannot show the letters of a path must not stop the work.
            stream.reconfigure(errors="backslashreplace")
    # Signals first: a run that is cancelled while it starts must end in the same way as later.
    with contextlib.ExitStack() as stack:
        stack.enter_context(cancellable())
        # Looked for in the plain words, so that a wrong command line is reported as an event too.
        if JSON_EVENTS in words:
            reporter: Reporter = JsonReporter(stack.enter_context(_private_stdout()))
        else:
            reporter = ConsoleReporter()
        stack.enter_context(forgiving_output())
        stack.callback(reporter.close)
        stack.enter_context(_former_names_as_warnings(reporter))
        code = _run_command(words, reporter)
        if code == CANCELLED and argv is None:
            ignore_signals()  # a second Ctrl-C while Python closes would end in a traceback
    if argv is None:
        drop_unwritten()
        leave_garbage()
    return code


@contextlib.contextmanager
def _former_names_as_warnings(reporter: Reporter) -> Iterator[None]:
    """Reports a former name that still works as a warning; other warnings are shown as Python usually does."""
    show = warnings.showwarning

    def report(message: Warning | str, category: type[Warning], filename: str, lineno: int,
               file: TextIO | None = None, line: str | None = None) -> None:
        if category is FutureWarning and "found its former" in str(message):
            reporter.warning(Problem.parsed(str(message), Code.FORMER_NAME))
        elif "dicom" in filename.lower():
            # pydicom and highdicom comment on headers of the CT; what matters of that we say ourselves.
            return
        else:
            show(message, category, filename, lineno, file, line)

    with warnings.catch_warnings():
        warnings.simplefilter("default", FutureWarning)
        warnings.showwarning = report
        yield


def _run_command(argv: Sequence[str], reporter: Reporter) -> int:
    """Runs the command and turns every exception into one line and an exit code."""
    arguments: argparse.Namespace | None = None
    new_folders: list[Path] = []
    code: int = FAILED
    try:
        refuse_empty_words(argv)
        arguments = build_parser().parse_args(argv)
        if getattr(arguments, "output", None) is not None:
            new_folders = missing_folders(Path(arguments.output))
        code = COMMANDS[arguments.command].run(arguments, reporter)
        return code
    except Resumable as interrupt:
        reporter.close()
        reporter.error(Problem(Code.CANCELLED, found=f"cancelled {interrupt.where}", hint=interrupt.how))
        return CANCELLED
    except KeyboardInterrupt:
        reporter.close()
        reporter.error(_cancelled(arguments, reporter))
        return CANCELLED
    except UserError as error:
        reporter.close()
        reporter.error(error.problem)
        return WRONG_USE if isinstance(error, UsageError) else FAILED
    except Exception as error:
        reporter.close()
        reporter.error(logfile.explain_command(error, logfile.user_log()))
        return FAILED
    finally:
        # What was made for results of which there is none, as of a misspelt input.
        if code != DONE:
            remove_empty(new_folders)


def _cancelled(arguments: argparse.Namespace | None, reporter: Reporter) -> Problem:
    """Where the work was ended, and the line that goes on with it: of a command that has a `resume_line(arguments)`."""
    text = "cancelled"
    if reporter.position is not None:
        stage, done, total = reporter.position
        text += f" ({stage}: {done} of {total})"
    line = ""
    if arguments is not None and hasattr(COMMANDS[arguments.command], "resume_line"):
        line = COMMANDS[arguments.command].resume_line(arguments)
    return Problem(Code.CANCELLED, found=text, hint=f"go on with: {line}" if line else "")


@contextlib.contextmanager
def _private_stdout() -> Iterator[TextIO]:
    """A stream to stdout for the events alone: what the library and its C++ code print goes to stderr meanwhile."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    private = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            stream = open(private, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            yield stream
            # Its reader may have gone, its disk may be full: that is no failure of the work.
            with contextlib.suppress(OSError):
                stream.close()
    finally:
        os.dup2(private, 1)
        os.close(private)
