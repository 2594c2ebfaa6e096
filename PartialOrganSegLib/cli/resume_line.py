"""What a training that was cancelled ends with: the step it was at, and the command that goes on."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path

from ..cancelling import Resumable
from ..errors import UserError


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
        line = shlex.join(["partialorganseg", command, *words, "-o", str(run), "--resume"])
        raise Resumable(where, f"go on with: {line}") from None


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
