"""Kills commands at random moments, starts them again and compares with an uninterrupted run.

    python Testing/benchmarks/kills.py --kills 100 --seed 1 --json Resources/figures/kills.json

For segment (one CT), segment over several CTs, in one process and in two, train, finetune and `models install
--replace`. A process is killed (SIGKILL) right before a random change of the disk, or after a random time; up to three
times in one folder. Afterwards the command is started as a user would start it again. Wrong is: a result that differs
from the uninterrupted one, a command that does not come to its end, a model that is neither the old nor the new one at
any moment, a file left behind. The exit code is 1 where anything was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path

from Testing.helpers.figure_rows import keep_rows
from Testing.helpers.fork_server import ForkServer
from Testing.helpers.kill_trials import COMMANDS, SLOW_COMMANDS, kill_trials


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="of each command (default: 100)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to keep the table as well")
    parser.add_argument("--commands", default="", help="some of them, with commas between (default: all)")
    arguments = parser.parse_args()
    commands = {make.name: make for make in (*COMMANDS, *SLOW_COMMANDS)}
    chosen = arguments.commands.split(",") if arguments.commands else list(commands)
    wrong: list[str] = []
    rows, kills = [], 0
    print("| command | starts | kills | wrong | seconds |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, \
            contextlib.closing(ForkServer(Path(folder) / "log.txt")) as server:
        for number, name in enumerate(chosen):
            start = time.monotonic()
            # Folders apart, so that each command's leftovers can be told.
            tally = kill_trials(commands[name], Path(folder) / str(number), server, arguments.seed, arguments.kills)
            seconds = round(time.monotonic() - start)
            print(f"| {name} | {tally.starts} | {tally.kills} | {len(tally.wrong)} | {seconds} |", flush=True)
            rows.append({"seed": arguments.seed, "command": name, "starts": tally.starts, "kills": tally.kills,
                         "wrong": len(tally.wrong), "seconds": seconds})
            wrong += tally.wrong
            kills += tally.kills
    print(f"\n{kills} kills, {len(wrong)} wrong", *wrong, sep="\n")
    if arguments.json:
        keep_rows(arguments.json, rows, ("seed", "command"))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
