"""The papers' tables in small: trains every row with equal budgets and seeds, and sets ours beside the paper's.

    python scripts/reproduce.py --table marginal word --anatomies path/to/word/labels
    python scripts/reproduce.py --table pann --budget full --data path/to/btcv --device cuda

Without --data and --anatomies the benchmark is made of synthetic patients. --anatomies is a folder of label maps of
WORD's sixteen organs (*.nii.gz), each of which gets a synthesised CT. --data is a manifest, or an nnU-Net or Decathlon
folder. Cases that are labelled with all of the table's organs are tested on or dealt to the paper's data sets, patient
by patient, and of each only what its set annotates is shown to the training. Writes TABLE.md, TABLE.json and pictures.
Every run is a process of its own. Finished runs are not repeated and stopped ones go on.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from reproduction.budgets import BUDGETS, Budget, total_steps
from reproduction.plan import Choice, Plan, make_plan
from reproduction.processes import run_commands
from reproduction.report import Setting, write_report
from reproduction.results import Result
from reproduction.runs import Run
from reproduction.table import Table
from reproduction.tables import TABLES

from PartialOrganSegLib.errors import Code, UserError
from PartialOrganSegLib.events import ConsoleReporter, Reporter
from PartialOrganSegLib.segmenting.backend import choose_device, computes_bfloat16
from PartialOrganSegLib.training.training_step import precision_of

WORK = Path(__file__).resolve().parent.parent / "work" / "reproduction"
SEEDS = 6  # with fewer, a paired test over seeds finds next to nothing
CANCELLED = 130


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", choices=TABLES, nargs="+", required=True)
    parser.add_argument("--budget", choices=BUDGETS, default="small",
                        help="small: minutes to hours on a laptop; full: the paper's network and steps, for GPUs")
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help=f"seeds 0 to N - 1 (default: {SEEDS})")
    parser.add_argument("--rows", type=_names, metavar="KEY,KEY", help="these rows only (default: all)")
    parser.add_argument("--organs", type=_names, metavar="NAME,NAME", help="these organs only")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--data", type=Path, metavar="PATH", help="a manifest or data set folder instead of phantoms")
    source.add_argument("--anatomies", type=Path, metavar="DIR", help="WORD label maps instead of phantoms")
    parser.add_argument("--phantoms", type=int, metavar="N", help="how many phantoms, test cases included")
    parser.add_argument("--steps", type=int, metavar="N", help="training steps of every row instead of the budget's")
    parser.add_argument("--half-precision", action="store_true",
                        help="train all rows in bfloat16: up to three times as fast on processors that have it")
    parser.add_argument("--work", type=Path, default=WORK, metavar="DIR", help=f"for data and runs (default: {WORK})")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="for the report (default: as --work)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda[:i] or mps")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (default: 1)")
    parser.add_argument("--one-run", metavar="ROW:SEED", help=argparse.SUPPRESS)  # what the child processes do
    return parser.parse_args(argv)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def choice_of(arguments: argparse.Namespace) -> Choice:
    """The data, rows, organs and seeds that the command line asks for. Raises UserError for impossible ones."""
    for option in ("seeds", "jobs"):
        if getattr(arguments, option) < 1:
            raise UserError(code=Code.VALUE_OUT_OF_RANGE, subject=f"--{option}", expected="1 or more",
                            found=getattr(arguments, option))
    if arguments.half_precision and choose_device(arguments.device).type == "cpu" and not computes_bfloat16():
        raise UserError(code=Code.VALUE_UNFIT, subject="--half-precision", expected="a processor with bfloat16",
                        found="one without, which trains in float32")
    return Choice(arguments.work, arguments.seeds, arguments.data, arguments.anatomies, arguments.rows,
                  arguments.organs)


def budget_of(arguments: argparse.Namespace) -> Budget:
    """The chosen budget with the command line's changes."""
    budget = BUDGETS[arguments.budget]
    return replace(budget, steps=arguments.steps or budget.steps, phantoms=arguments.phantoms or budget.phantoms,
                   half_precision=arguments.half_precision)


def setting_of(arguments: argparse.Namespace, argv: Sequence[str], choice: Choice, plan: Plan) -> Setting:
    """What the report says of how its figures were made."""
    budget, device = budget_of(arguments), choose_device(arguments.device)
    machine = f"{os.cpu_count()} cores {platform.machine()}, {torch.get_num_threads()} threads"
    if device.type == "cuda":
        machine = torch.cuda.get_device_name(device)
    place = plan.situation
    sets = ", ".join(f"{name} {len(cases)}" for name, cases in place.training.items())
    steps = total_steps(plan.runs[0].recipe)
    precision = str(precision_of(plan.runs[0].recipe.half_precision, device)).removeprefix("torch.")
    # A folder's path is of no use to a reader, and says more of a machine than the report should.
    words = [Path(word).name if os.path.isabs(word) else word for word in argv]
    spent = f"{budget.name}, {steps} steps a row: {budget.description}; trained in {precision}"
    return Setting(f"python scripts/reproduce.py {shlex.join(words)}", f"{machine}, PyTorch {torch.__version__}",
                   f"{choice.source()}; {len(place.test)} test cases; training cases: {sets}; "
                   f"organs: {', '.join(place.organs)}", choice.shows(),
                   spent, time.strftime("%Y-%m-%d"), list(range(choice.seeds)))


def carry_out_one(plan: Plan, name: str, device: str, reporter: Reporter) -> None:
    """The run ROW:SEED of a plan, in this process."""
    row, _, seed = name.rpartition(":")
    for run in plan.runs:
        if (run.row, str(run.seed)) == (row, seed):
            run.carry_out(device, reporter)
            return
    raise UserError(code=Code.UNKNOWN_NAME, subject="--one-run", expected="ROW:SEED of the plan", found=f"'{name}'")


def carry_out_table(table: Table, plan: Plan, setting: Setting, folder: Path, argv: Sequence[str],
                    jobs: int) -> list[Run]:
    """All runs of a table, each in a process; the report is renewed after each. Returns those that failed."""
    results: dict[str, dict[int, Result]] = {row.key: {} for row in plan.rows}
    waiting = []
    for run in plan.runs:
        finished = run.result()
        if finished is None:
            waiting.append(run)
        else:
            results[run.row][run.seed] = finished
    if len(waiting) < len(plan.runs):
        write_report(folder, table, plan.rows, results, setting)
    commands = []
    for run in waiting:
        # argparse takes the last --table, so that a child works on this one alone.
        commands.append([sys.executable, str(Path(__file__).resolve()), *argv, "--table", table.key,
                         "--one-run", f"{run.row}:{run.seed}"])
    failed = []
    for number, code in run_commands(commands, jobs):
        run = waiting[number]
        if code == CANCELLED:  # Ctrl-C reaches the children first: they share the terminal
            raise KeyboardInterrupt
        result = run.result()
        if code or result is None:
            failed.append(run)  # the other runs are worth having all the same
            continue
        results[run.row][run.seed] = result
        print(f"{table.key}  seed {run.seed}  {run.row}: Dice {result.mean():.3f} "
              f"({result.step_seconds:.2f} s a step)", flush=True)
        write_report(folder, table, plan.rows, results, setting)
    return failed


def reproduce(arguments: argparse.Namespace, argv: Sequence[str], reporter: Reporter) -> int:
    """The tables, or the one run, that the arguments ask for. The exit code."""
    choice = choice_of(arguments)
    failed = []
    for key in arguments.table:
        plan = make_plan(TABLES[key], budget_of(arguments), choice, reporter)
        reporter.close()
        if arguments.one_run is not None:
            carry_out_one(plan, arguments.one_run, arguments.device, reporter)
            continue
        setting = setting_of(arguments, argv, choice, plan)
        folder = arguments.output or arguments.work
        for run in carry_out_table(TABLES[key], plan, setting, folder, argv, arguments.jobs):
            failed.append(f"{key} {run.row} seed {run.seed}")
        print(folder / f"{key}.md", flush=True)
    if failed:
        reporter.error(f"failed: {', '.join(failed)}; the same command tries them again")
        return 1
    return 0


def main(words: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:])
    if words is not None:
        argv = list(words)
    arguments = parse(argv)
    arguments.work = arguments.work.resolve()
    reporter = ConsoleReporter()
    try:
        return reproduce(arguments, argv, reporter)
    except UserError as error:
        reporter.error(str(error))
        return 1
    except KeyboardInterrupt:
        if arguments.one_run is None:
            reporter.error("stopped; the same command goes on from here")
        return CANCELLED
    finally:
        reporter.close()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended by a program, the runs are stopped as by Ctrl-C
    sys.exit(main())
