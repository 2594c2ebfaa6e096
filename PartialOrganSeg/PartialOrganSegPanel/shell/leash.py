"""Runs `python -m PartialOrganSegLib` on a leash: it ends, with all its children, when its standard input is closed.
What comes through it until then is the command's standard input.

Started as a script by `child.py`: `python leash.py GRACE_SECONDS ARGUMENTS...`. Closing the pipe is the one way to ask
for an end that works alike on Linux, macOS and Windows, and the system does it even when Slicer crashes.

The first line of its output is `{"event": "leash", "pid": ...}`: Slicer starts its Python through a launcher, whose
process id says nothing of this one.
"""

import _thread
import json
import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path

CANCELLED = 130


def main() -> None:
    grace = float(sys.argv[1])
    if hasattr(os, "setsid"):
        os.setsid()  # its own process group: whoever kills the group leaves nothing behind
    print(json.dumps({"event": "leash", "pid": os.getpid()}), flush=True)
    parent, (for_command, to_command) = os.dup(0), os.pipe()
    os.dup2(for_command, 0)
    os.close(for_command)
    threading.Thread(target=_end_with_parent, args=(parent, to_command, grace), daemon=True).start()
    above = Path(__file__).resolve().parents
    roots = [folder for folder in (above[2], above[3]) if (folder / "PartialOrganSegLib").is_dir()]
    sys.path[0:1] = [str(roots[0])]  # instead of this folder, whose modules belong to Slicer's process
    del sys.argv[1]
    runpy.run_module("PartialOrganSegLib", run_name="__main__", alter_sys=True)


def _end_with_parent(parent: int, to_command: int, grace: float) -> None:
    # os.read, not sys.stdin: a thread that waits inside a buffered reader makes the interpreter abort on its way out
    while data := os.read(parent, 4096):
        os.write(to_command, data)
    os.close(to_command)  # a command that waits for a line ends by itself
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        _thread.interrupt_main(signal.SIGTERM)
        time.sleep(grace)
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(CANCELLED)


if __name__ == "__main__":
    main()
