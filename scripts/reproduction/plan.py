"""Which runs a table needs with the chosen data, rows, organs and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PartialOrganSegLib.errors import Code, UserError, nearest
from PartialOrganSegLib.events import Reporter

from .budgets import Budget, row_recipe
from .references import Reference, anatomy_references, manifest_references, phantom_references, usable_organs
from .runs import Run
from .situations import Situation, situation, write_manifest
from .table import Row, Table

# What each kind of data can show, as the report says it.
PHANTOMS_SHOW = "nothing about anatomy, which is made up: whether the methods run, and how fast they learn"
ANATOMIES_SHOW = "the order of methods on shapes of people's organs; not figures on CTs, as the images are synthetic"
DATA_SHOWS = "cases with reference labels, split by patient"


@dataclass(frozen=True)
class Choice:
    """What a person asked for. `data`: a manifest or data set folder; `anatomies`: a folder of WORD label maps; with
    neither, phantoms. `rows` and `organs`: None for all of them."""

    work: Path
    seeds: int
    data: Path | None = None
    anatomies: Path | None = None
    rows: Sequence[str] | None = None
    organs: Sequence[str] | None = None

    def source(self) -> str:
        """Where the cases come from, for the report."""
        if self.anatomies is not None:
            return f"{self.anatomies.name}: label maps by people, with synthesised CTs"
        if self.data is not None:
            return "/".join(self.data.parts[-2:])  # where it lies on this machine is nobody's business
        return "synthetic patients"

    def shows(self) -> str:
        """What such cases can show."""
        if self.anatomies is not None:
            return ANATOMIES_SHOW
        if self.data is not None:
            return DATA_SHOWS
        return PHANTOMS_SHOW


@dataclass(frozen=True)
class Plan:
    """The runs of a table, a seed after the other, and the first seed's situation."""

    rows: Sequence[Row]
    runs: Sequence[Run]
    situation: Situation


def make_plan(table: Table, budget: Budget, choice: Choice, reporter: Reporter) -> Plan:
    """Makes the data where it is not there yet, deals it to the data sets for every seed, and lists the runs.

    Rows that are trained on a set without any of the organs are left out, with a warning. Raises UserError where that
    leaves none, for unknown rows and organs, and for too few cases.
    """
    rows, organs = _rows(table, choice.rows), _organs(table, budget, choice)
    # All data is made here and now: runs are processes, two of which would make the same file.
    references = _references(choice, budget, organs, reporter)
    places = [situation(references, organs, table.datasets, seed) for seed in range(choice.seeds)]
    possible = []
    for row in rows:
        if set(row.datasets) <= set(places[0].training):
            possible.append(row)
        else:
            reporter.warning(f"{row.title}: left out, a set it is trained on has none of the organs")
    if not possible:
        raise UserError(code=Code.NO_CASES, subject=table.key, expected="organs that all data sets of a row annotate",
                        found=f"none for {', '.join(row.key for row in rows)}")
    # Seed by seed, so that every row has a figure early and all of them are compared on equal terms throughout.
    runs = []
    for seed, place in enumerate(places):
        runs += [_run(table, row, place, budget, seed, choice.work) for row in possible]
    return Plan(possible, runs, places[0])


def _rows(table: Table, keys: Sequence[str] | None) -> list[Row]:
    """The rows of those keys, in the table's order."""
    if keys is None:
        return list(table.rows)
    available = [row.key for row in table.rows]
    for key in keys:
        _check_listed("--rows", key, available)
    return [row for row in table.rows if row.key in keys]


def _organs(table: Table, budget: Budget, choice: Choice) -> list[str]:
    """The table's organs, as far as the data has them and they are asked for."""
    if choice.organs is None:
        return usable_organs(choice.data, budget.organs(table))
    usable = usable_organs(choice.data, table.organs)
    for name in choice.organs:
        _check_listed("--organs", name, usable)
    return [name for name in usable if name in choice.organs]


def _check_listed(option: str, name: str, available: Sequence[str]) -> None:
    if name not in available:
        raise UserError(code=Code.UNKNOWN_NAME, subject=option, expected=f"some of {', '.join(available)}",
                        found=f"'{name}'{nearest(name, available)}")


def _references(choice: Choice, budget: Budget, organs: Sequence[str], reporter: Reporter) -> list[Reference]:
    if choice.anatomies is not None:
        return anatomy_references(choice.work, choice.anatomies, organs, reporter)
    if choice.data is not None:
        return manifest_references(choice.work, choice.data, organs, reporter)
    return phantom_references(choice.work, budget.phantoms, organs, reporter)


def _run(table: Table, row: Row, place: Situation, budget: Budget, seed: int, work: Path) -> Run:
    organs = [name for name in place.organs if name in (row.organs or place.organs)]
    datasets = [dataset for dataset in table.datasets if dataset.name in row.datasets]
    manifest = write_manifest(work, place, datasets, organs, row.unlabelled_is_background)
    recipe = row_recipe(table, row, budget, manifest, seed)
    runs = work / "runs" / (table.runs_of or table.key)
    return Run.in_folder(runs, row.key, seed, recipe, organs, place.organs, place.test, row.folds)
