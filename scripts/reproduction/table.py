"""What a table of a paper consists of: data sets, rows (a shipped recipe each), published figures and claims."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from PartialOrganSegLib.annotation import Kind

SCRATCH = "start_from=null"  # our own recipe without the embedded model, which no other row starts from


@dataclass(frozen=True)
class DataSet:
    """Cases annotated in one way. `share`: of the training cases, against the other sets' shares.

    `organs`: those annotated (partial sets). `same_cases_as`: another set whose cases this one annotates differently.
    `pooled_as`: the name under which sets annotated alike are one data set for the training; empty: the set's own.
    """

    name: str
    kind: Kind
    share: int = 1
    organs: tuple[str, ...] = ()
    same_cases_as: str | None = None
    pooled_as: str = ""


@dataclass(frozen=True)
class Published:
    """A paper's means of a row: Dice (0-1), HD95 and Hausdorff distance (the maximum), mm, as far as it gives them."""

    dice: float | None = None
    hd95: float | None = None
    hausdorff: float | None = None


@dataclass(frozen=True)
class Row:
    """A shipped recipe with `changes` ("key=value", as for `partialorganseg train --set`) on some data sets.

    `small`: changes with the small budget alone, after its settings: a network's own smaller arguments. `organs`: the
    label space where it is not the table's; the table's other organs are background. `unlabelled_is_background`:
    partial sets are taken for fully labelled ones. `folds`: how many networks share the row's steps, each trained
    without one part of the patients; their ensemble is measured. 0: one network, on all.
    """

    key: str
    title: str
    recipe: str
    datasets: tuple[str, ...]
    published: Published = Published()
    changes: tuple[str, ...] = ()
    organs: tuple[str, ...] = ()
    unlabelled_is_background: bool = False
    small: tuple[str, ...] = ()
    folds: int = 0


@dataclass(frozen=True)
class Claim:
    """Row `better` has the higher mean Dice than row `worse`."""

    better: str
    worse: str


@dataclass(frozen=True)
class Table:
    """One table of a paper. `recipe`: the one whose number of steps every row gets with the full budget.

    `small_organs`, `small_steps` and `small` (recipe settings): what the small budget takes instead. `runs_of`: the
    key of a table whose runs it shares, where rows of the same key are the same; empty: its own.
    """

    key: str
    title: str
    source: str
    recipe: str
    organs: tuple[str, ...]
    small_organs: tuple[str, ...]
    datasets: tuple[DataSet, ...]
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...]
    small: Mapping[str, object] = field(default_factory=dict)
    small_steps: int = 2000
    runs_of: str = ""
