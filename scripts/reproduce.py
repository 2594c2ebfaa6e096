"""The papers' tables in small: trains every row with equal budgets and seeds, and sets ours beside the paper's.

    python scripts/reproduce.py --table word --budget small --seeds 2
    python scripts/reproduce.py --table pann --budget full --data path/to/btcv --device cuda

Without --data the benchmark is made of synthetic patients. --data is a manifest, or an nnU-Net or Decathlon folder; its
cases that are labelled with all of the table's organs are tested on or dealt to the paper's data sets, and of each only
what its set annotates is shown to the training. Writes TABLE.md, TABLE.json and TABLE.png. Finished runs are not
repeated and stopped ones go on.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from reproduction.budgets import BUDGETS, Budget, row_recipe, total_steps
from reproduction.references import manifest_references, phantom_references, usable_organs
from reproduction.report import Setting, write_report
from reproduction.runs import Result, run
from reproduction.situations import Situation, situation, write_manifest
from reproduction.tables import TABLES, Row, Table

from PartialOrganSegLib.errors import UserError, nearest
from PartialOrganSegLib.events import ConsoleReporter, Reporter
from PartialOrganSegLib.segmenting.backend import choose_device
from PartialOrganSegLib.training.recipe import Recipe

WORK = Path(__file__).resolve().parent.parent / "work" / "reproduction"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", choices=TABLES, required=True)
    parser.add_argument("--budget", choices=BUDGETS, default="small",
                        help="small: minutes to hours on a laptop; full: the paper's network and steps, for GPUs")
    parser.add_argument("--seeds", type=int, default=2, metavar="N", help="seeds 0 to N - 1 (default: 2)")
    parser.add_argument("--rows", metavar="KEY,KEY", help="these rows only (default: all)")
    parser.add_argument("--organs", metavar="NAME,NAME", help="these organs only")
    parser.add_argument("--data", type=Path, metavar="PATH", help="a manifest or data set folder instead of phantoms")
    parser.add_argument("--phantoms", type=int, metavar="N", help="how many phantoms, test cases included")
    parser.add_argument("--steps", type=int, metavar="N", help="training steps of every row instead of the budget's")
    parser.add_argument("--work", type=Path, default=WORK, metavar="DIR", help=f"for data and runs (default: {WORK})")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="for the report (default: as --work)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda[:i] or mps")
    return parser.parse_args(argv)


def chosen_rows(table: Table, text: str | None) -> list[Row]:
    """The rows named in a comma-separated list, in the table's order. Raises UserError for an unknown one."""
    known = [row.key for row in table.rows]
    wanted = known if text is None else [key.strip() for key in text.split(",")]
    for key in wanted:
        if key not in known:
            raise UserError(f"--rows: expected some of {', '.join(known)}, found '{key}'{nearest(key, known)}")
    return [row for row in table.rows if row.key in wanted]


def chosen_organs(table: Table, arguments: argparse.Namespace) -> list[str]:
    """The benchmark's organs: the table's, as far as the data has them. Raises UserError for one it does not know."""
    if arguments.organs is None:
        return usable_organs(arguments.data, table.small_organs if arguments.budget == "small" else table.organs)
    usable = usable_organs(arguments.data, table.organs)
    wanted = [name.strip() for name in arguments.organs.split(",")]
    for name in wanted:
        if name not in usable:
            raise UserError(f"--organs: expected some of {', '.join(usable)}, found '{name}'{nearest(name, usable)}")
    return [name for name in usable if name in wanted]


def train_row(table: Table, row: Row, place: Situation, budget: Budget, seed: int, arguments: argparse.Namespace,
              reporter: Reporter) -> tuple[Recipe, Result]:
    """One row with one seed: what was run and what came out."""
    organs = [name for name in place.organs if name in (row.organs or place.organs)]
    datasets = [dataset for dataset in table.datasets if dataset.name in row.datasets]
    manifest = write_manifest(arguments.work, place, datasets, organs)
    recipe = row_recipe(table, row, budget, manifest, seed)
    folder = arguments.work / "runs" / table.key / f"{row.key}-seed{seed}"
    return recipe, run(recipe, organs, place.organs, place.test, folder, arguments.device, reporter)


def setting_of(arguments: argparse.Namespace, argv: Sequence[str], budget: Budget, place: Situation,
               recipe: Recipe) -> Setting:
    """What the report says of how its figures were made."""
    device = choose_device(arguments.device)
    machine = (torch.cuda.get_device_name(device) if device.type == "cuda"
               else f"{os.cpu_count()} cores {platform.machine()}, {torch.get_num_threads()} threads")
    source = "synthetic patients" if arguments.data is None else str(arguments.data)
    sets = ", ".join(f"{name} {len(cases)}" for name, cases in place.training.items())
    spent = f"{budget.name}, {total_steps(recipe)} steps a row: {budget.description}"
    return Setting(f"python scripts/reproduce.py {shlex.join(argv)}", f"{machine}, PyTorch {torch.__version__}",
                   f"{source}; {len(place.test)} test cases; training cases: {sets}; "
                   f"organs: {', '.join(place.organs)}", spent, time.strftime("%Y-%m-%d"),
                   list(range(arguments.seeds)))


def train_table(table: Table, budget: Budget, arguments: argparse.Namespace, argv: Sequence[str],
                reporter: Reporter) -> list[Path]:
    """All rows with all seeds, a seed after the other; the report is renewed after each run."""
    rows, organs = chosen_rows(table, arguments.rows), chosen_organs(table, arguments)
    references = (phantom_references(arguments.work, budget.phantoms, organs, reporter) if arguments.data is None
                  else manifest_references(arguments.work, arguments.data, organs, reporter))
    results: dict[str, dict[int, Result]] = {row.key: {} for row in rows}
    files: list[Path] = []
    for seed in range(arguments.seeds):
        place = situation(references, organs, table.datasets, seed)
        for row in rows:
            if not set(row.datasets) <= set(place.training):
                reporter.warning(f"{row.title}: left out, a set it is trained on has none of the organs")
                continue
            recipe, result = train_row(table, row, place, budget, seed, arguments, reporter)
            results[row.key][seed] = result
            reporter.close()
            print(f"seed {seed}  {row.title}: Dice {result.mean():.3f}  ({result.seconds:.0f} s)", flush=True)
            setting = setting_of(arguments, argv, budget, place, recipe)
            files = write_report(arguments.output or arguments.work, table, rows, results, setting)
    return files


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    arguments = parse(argv)
    arguments.work = arguments.work.resolve()
    budget, reporter = BUDGETS[arguments.budget], ConsoleReporter()
    budget = replace(budget, steps=arguments.steps or budget.steps, phantoms=arguments.phantoms or budget.phantoms)
    try:
        files = train_table(TABLES[arguments.table], budget, arguments, argv, reporter)
    except UserError as error:
        reporter.error(str(error))
        return 1
    except KeyboardInterrupt:
        reporter.error("stopped; the same command goes on from here")
        return 130
    finally:
        reporter.close()
    print("\n".join(map(str, files)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
