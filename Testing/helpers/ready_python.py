"""A Python that is ready: it imported what takes seconds, and every program is a fork of it, in milliseconds.

A program gets its own arguments, folder, environment, streams and `__main__`, imports this repository's code anew, and
ends by the way that Python ends. For tests of what a program does; those of how a process starts, or is found and
killed by its number, start the usual Python. `program()` is what to start in the place of `sys.executable`.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Callable
from pathlib import Path

CLIENT = Path(__file__).with_name("ready_client.py")
PROGRAM = "PARTIALORGANSEG_READY_PYTHON"  # the variable that names the program, for the processes of pytest-xdist
# Other people's packages alone: a program may find another version of this repository, or other organs.
IMPORTED = ("numpy", "torch", "torch.utils.data", "torch._dynamo", "scipy.ndimage", "scipy.sparse.csgraph",
            "scipy.spatial", "SimpleITK", "pydantic", "safetensors.torch", "psutil", "tqdm", "yaml", "PIL.Image",
            "pydicom", "highdicom", "monai.networks.nets", "monai.transforms", "torch.utils.tensorboard")
LONGEST_ADDRESS = 100  # bytes of the path of a socket that every system takes
LONGEST_END_S = 60.0  # of what still runs when all tests are over


def program() -> str:
    """The path of a Python: the ready one where one was started, otherwise that of this process."""
    return os.environ.get(PROGRAM, sys.executable)


def start() -> Callable[[], None]:
    """Starts the process that forks; it imports when it is first asked. Calling what is returned ends it.

    Where there is no safe fork, or a ready Python already, nothing is started and `program` is what it was.
    """
    in_slicer = "PythonQt" in sys.modules  # where this process is no plain Python that could be started again
    if sys.platform != "linux" or in_slicer or PROGRAM in os.environ:
        return lambda: None
    folder = Path(tempfile.mkdtemp(prefix="ready-python-"))
    address = folder / "socket"
    if len(os.fsencode(address)) > LONGEST_ADDRESS:
        folder.rmdir()
        return lambda: None
    # PYTHONPATH is each program's own matter.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # Pipes, whatever the streams here are: a file's could be sought in, which a program believes that takes them over.
    # A session of its own: Ctrl-C is for the tests.
    server = subprocess.Popen([sys.executable, __file__, str(address)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env=environment, start_new_session=True)
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdout.readline()  # it listens
    # By sh: a #! line takes no path with blanks.
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{CLIENT}" "{address}" "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    os.environ[PROGRAM] = str(path)

    def end() -> None:
        del os.environ[PROGRAM]
        try:
            server.communicate(timeout=LONGEST_END_S)  # it ends with its input
        except subprocess.TimeoutExpired:
            server.kill()
            server.communicate()
        shutil.rmtree(folder, ignore_errors=True)

    return end


def serve(address: str) -> list[str]:
    """Forks until standard input ends. Returns in a fork alone: the words of its command line."""
    os.environ["THP_MEM_ALLOC_ENABLE"] = "1"  # as the command does before it imports PyTorch
    del sys.path[0]  # this file's folder, which no program has
    imported = False
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(64)
        print(flush=True)
        while listening in select.select([listening, sys.stdin], [], [])[0]:
            connection, _ = listening.accept()
            if not imported:
                _import_all()
                imported = True
            size, descriptors, _, _ = socket.recv_fds(connection, 8, 3)
            request = json.loads(_received(connection, int.from_bytes(size, "big")))
            if not os.fork():
                listening.close()
                return _watched(connection, request, descriptors)
            connection.close()
            for descriptor in descriptors:
                os.close(descriptor)
            # Those that came to their end meanwhile.
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
    # The tests may have been killed, and leave it to this process.
    shutil.rmtree(Path(address).parent, ignore_errors=True)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    sys.exit()


def _import_all() -> None:
    for name in IMPORTED:
        # A package that is not there is not there for the program either.
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # so that no search for garbage copies the memory that forks share


def _received(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise EOFError("the client went away within its request")
        data += piece
    return data


def _watched(connection: socket.socket, request: dict, descriptors: list[int]) -> list[str]:
    """Forks the program, in which this returns; stays beside it, passes signals on and says how it ended."""
    process_id = os.fork()
    if not process_id:
        connection.close()
        _take_over(request, descriptors)
        words: list[str] = request["words"]
        return words
    for descriptor in descriptors:
        os.close(descriptor)

    def pass_on() -> None:
        number = signal.SIGTERM
        while number != signal.SIGKILL:
            # No byte: the client was killed, and would be the program.
            number = next(iter(connection.recv(1)), signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_id, number)

    threading.Thread(target=pass_on, daemon=True).start()
    _, status = os.waitpid(process_id, 0)
    with contextlib.suppress(OSError):
        connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _take_over(request: dict, descriptors: list[int]) -> None:
    """Streams, folder and environment of the client become this process's."""
    for stream, descriptor in enumerate(descriptors):
        os.dup2(descriptor, stream)
        os.close(descriptor)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])


def run(words: list[str]) -> None:
    """Does what `python WORDS...` does, for `-u` and one of `-m MODULE`, `-c CODE` and `FILE`."""
    if words[0] == "-u":
        words = words[1:]
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            former = getattr(sys, name)
            setattr(sys, name, io.TextIOWrapper(io.FileIO(descriptor, "w", closefd=False), encoding=former.encoding,
                                                errors=former.errors, write_through=True))
    added = os.environ.get("PYTHONPATH", "")
    sys.path[:0] = ["", *filter(None, added.split(os.pathsep))]
    importlib.invalidate_caches()
    if words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        module = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(words[1], "<string>", "exec"), module.__dict__)
    elif words[0] == "-m":
        sys.argv = ["-m", *words[2:]]
        sys.path[0] = os.getcwd()
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path[0] = str(Path(words[0]).resolve().parent)
        runpy.run_path(words[0], run_name="__main__")


def run_and_end(words: list[str]) -> None:
    """`run`, and the end of the process but for taking all modules apart, which copies the memory that forks share."""
    code: object = 0
    try:
        run(words)
    except SystemExit as end:
        code = end.code or 0
    except Exception:
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()  # type: ignore[attr-defined] - waits for threads, as Python does at its end
    atexit._run_exitfuncs()
    if not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or 120  # Python's own
    os._exit(code & 0xFF)


if __name__ == "__main__":
    run_and_end(serve(sys.argv[1]))
