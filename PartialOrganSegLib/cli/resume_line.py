"""What a training that was cancelled ends with: the step it was at, and the command that goes on."""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..cancelling import Resumable
from ..errors import UserError

# What cmd.exe or PowerShell take for the end of a word, or for something else than a letter.
_SPECIAL_ON_WINDOWS = re.compile(r"""[\s&|<>^(){}\[\],;`'"%!@#=+~*?]""")


@contextlib.contextmanager
def ending_with_resume_line(command: str, run: Path, *words: str) -> Iterator[None]:
    """Inside, a KeyboardInterrupt becomes one that says how to go on, where the run folder has a checkpoint or a plan.

    `words`: those of the command line that resuming needs too.
    """
    try:
        yield
    except Resumable:
        raise
    except KeyboardInterrupt:
        if not ((run / "checkpoints" / "last.pt").exists() or (run / "plan.json").exists()):
            raise
        step = last_step(run)
        where = "before the first step"
        if step:
            where = f"after step {step}"
        line = command_line(["partialorganseg", command, *words, "-o", str(run), "--resume"])
        raise Resumable(where, f"go on with: {line}") from None


def command_line(words: Sequence[str]) -> str:
    """The words as a person types them in this system's terminal."""
    if sys.platform == "win32":
        return " ".join(map(_for_windows, words))
    return shlex.join(words)


def _for_windows(word: str) -> str:
    """The word in double quotes where it needs any: to cmd.exe single ones are letters, and a backslash none."""
    if word and not _SPECIAL_ON_WINDOWS.search(word):
        return word
    # A backslash before a quote would make it a letter, be it one of the word or the last one.
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', word)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f'"{escaped}"'


def last_step(run: Path) -> int:
    """The step of the run's last checkpoint, 0 where there is none that can be read."""
    from ..training.checkpoint import load_checkpoint  # takes PyTorch to import

    last = run / "checkpoints" / "last.pt"
    if not last.exists():
        return 0
    try:
        return load_checkpoint(last)["step"]
    except UserError:
        return 0
