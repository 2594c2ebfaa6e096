"""Starts commands of the library as forks of a process that has imported it, in milliseconds each, and kills them."""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import PartialOrganSegLib
from Testing.helpers.repository import ROOT

# What changes the disk: a process is killed right before the n-th of these.
EVENTS = ("os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "shutil.copyfile")


@dataclass(frozen=True)
class Ended:
    """Exit code (negative: of the signal that ended it), changes of the disk (0 if it was killed), and seconds."""

    code: int
    changes: int
    seconds: float


class ForkServer:
    """`run` runs a command to its end or kills it; what it prints goes to `log`."""

    def __init__(self, log: Path) -> None:
        self.log = log
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
                       "OMP_NUM_THREADS": "1"}
        self._server = subprocess.Popen([sys.executable, "-m", "Testing.helpers.fork_server"], cwd=ROOT, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        self._answer()  # all is imported

    def run(self, *words: object, after_s: float | None = None, at_change: int = 0, **environment: object) -> Ended:
        """Runs `partialorganseg words`. It is killed after so many seconds, or right before that change of the disk."""
        request = {"words": [*map(str, words)], "at_change": at_change, "log": str(self.log),
                   "environment": {name: str(value) for name, value in environment.items()}}
        assert self._server.stdin is not None
        start = time.monotonic()
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        process_id = self._answer()["process_id"]
        if after_s is not None:
            time.sleep(after_s)
            os.kill(process_id, signal.SIGKILL)  # reaped only when the server is asked, so it is no other's
        self._server.stdin.write("wait\n")
        self._server.stdin.flush()
        answer = self._answer()
        return Ended(answer["code"], answer["changes"], time.monotonic() - start)

    def _answer(self) -> dict[str, int]:
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        if not line:
            raise RuntimeError(f"the server of forks itself ended with {self._server.wait()}")
        answer: dict[str, int] = json.loads(line)
        return answer

    def close(self) -> None:
        """Ends the server."""
        self._server.kill()
        self._server.communicate()


def serve() -> None:
    """The server: a request, its process, "wait", its end; and again."""
    # What commands import when they run: the whole library, and what torch imports for an optimiser, for seconds.
    names = [module.name for module in pkgutil.walk_packages(PartialOrganSegLib.__path__, "PartialOrganSegLib.")]
    for name in (*names, "torch.utils.tensorboard", "torch._dynamo"):
        # Some need a package that is not there, and so would the command.
        with contextlib.suppress(ImportError):
            if not name.endswith("__main__"):
                importlib.import_module(name)
    gc.collect()
    gc.freeze()  # so that no search for garbage copies the memory that forks share
    print("{}", flush=True)
    while line := sys.stdin.readline():
        request = json.loads(line)
        reading, writing = os.pipe()
        process_id = os.fork()
        if not process_id:
            os.close(reading)
            _child(request, writing)
        os.close(writing)
        print(json.dumps({"process_id": process_id}), flush=True)
        sys.stdin.readline()
        _, status = os.waitpid(process_id, 0)
        with os.fdopen(reading) as pipe:
            changes = pipe.read()
        print(json.dumps({"code": os.waitstatus_to_exitcode(status), "changes": int(changes or 0)}), flush=True)


def _child(request: dict, writing: int) -> None:
    from PartialOrganSegLib.cli import main

    output = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    # The server's own streams carry its protocol.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.environ.update(request["environment"])
    changes = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal changes
        written = event == "open" and isinstance(arguments[1], str) and arguments[1][:1] in ("w", "a", "x")
        if written or event in EVENTS:
            changes += 1
            if changes == request["at_change"]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    code = 70
    try:
        code = main(request["words"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(writing, str(changes).encode())
        os._exit(code)


if __name__ == "__main__":
    serve()
