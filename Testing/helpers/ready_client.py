"""A Python in the place of the usual one: hands its command line to the process of `ready_python` and ends as its
program does.

Started by path, with the standard library alone, so that it takes milliseconds.
"""

import contextlib
import json
import os
import signal
import socket
import sys

PASSED_ON = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")


def main() -> None:
    address, *words = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        request = json.dumps({"words": words, "folder": os.getcwd(), "environment": dict(os.environ)}).encode()
        # The program writes and reads where this process would.
        socket.send_fds(connection, [len(request).to_bytes(8, "big")], [0, 1, 2])
        connection.sendall(request)
        empty = os.open(os.devnull, os.O_RDWR)
        # A pipe ends when nobody holds it any more.
        for stream in (0, 1, 2):
            os.dup2(empty, stream)
        for name in PASSED_ON:
            signal.signal(getattr(signal, name), lambda number, _frame: connection.send(bytes([number])))
        code = int(connection.recv(16) or -signal.SIGKILL)
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL and SIGSTOP have no action to set
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    # Nothing was opened that is not closed, and a second signal must not change the code.
    os._exit(code)


if __name__ == "__main__":
    main()
