"""docs/results/robustness.md: damaged inputs, kills and a run over many CTs, from the rows in Resources/figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .embedded_figures import ROOT
from .markdown import NOTE, table

OUTCOMES = ("clear", "accepted rightly", "accepted wrongly", "own words", "several lines", "hang", "memory", "crash")
TROUBLES = ("lost", "twice", "differing", "table", "left")
HEAD = f"""# Damaged inputs, kills and many CTs

{NOTE}
From `Resources/figures`, where `faults.py`, `kills.py` and `batch_1000.py` of `Testing/benchmarks` kept their tables.
Inputs are small and made by the benchmarks themselves.

## Damaged and hostile inputs

Sound files with bits, bytes, numbers, words and lines changed at random, each read by itself; in two thirds of the
DICOM files elements at any depth are taken away, emptied, doubled or replaced, with another value representation at
times. Segmentations and structure sets are read onto their CT's grid. *Clear*: one line that names the file, what was
expected and what was found. *Accepted rightly*: read with a warning, or as an independent reader reads it. All other
columns should be zero: read otherwise without a word; a sentence of Python; more than one line; over 60 s; over 1500
MiB; the process ended.

What fell into one of these was mended as a kind after the run that found it, and its format was run again; made again
by its number it is now one clear line: bundle 29000021 (an argument of a network), nifti.gz 53000055 (the words of
another library), enhanced dicom 40000011 (an element of another representation), 59000090 and 59000107 (slopes that
make no HU), dicom 40000002 (a photometric interpretation of no text), rtstruct 61000066 and 61000091 (contours that are
missing altogether), bundle 67000081 (two thousand million layers).
"""
KILLS = """## Commands killed and started again

Killed (SIGKILL) right before a random change of the disk or after a random time, up to three times in one folder, and
started again as a user would. *Wrong* is a result that differs from the uninterrupted run's, a command that does not
come to its end, a model that is neither the old nor the new one, or a file left behind.
"""
BATCH = """## A run over many CTs

Phantoms, and among them a CT from which the network never comes back, one for which it takes memory without end, one
that crashes it and a file that is no image, on one machine and on two workers of a cluster. Each run was killed
several times, as a whole or one worker alone, started on a full disk once, and simply started again. *Differing* are
label maps of a sample, against an uninterrupted run; *table* are wrong rows of the run table; *left* are hidden files
and locks. Memory is how much more a process held in the last third of the run than in the second.
"""


def page() -> str:
    lines = [HEAD]
    faults = rows_of("faults")
    for seed in dict.fromkeys(row["seed"] for row in faults):
        of_seed = [row for row in faults if row["seed"] == seed]
        lines += [f"Seed {seed}:", "", *_faults(of_seed), ""]
    lines += [KILLS, *_kills(rows_of("kills"))]
    batch = rows_of("batch_1000")
    if batch:
        lines += ["", BATCH, *_batch(batch)]
    return "\n".join(lines) + "\n"


def rows_of(name: str) -> list[dict[str, Any]]:
    """What a benchmark kept; nothing where it was not run to its end for this version."""
    file = ROOT / "Resources" / "figures" / f"{name}.json"
    rows: list[dict[str, Any]] = []
    if file.exists():
        rows = json.loads(file.read_text(encoding="utf-8"))
    return rows


def _texts(row: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    return [str(row[column]) for column in columns]


def _sums(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> dict[str, int]:
    sums = {}
    for column in columns:
        sums[column] = sum(row[column] for row in rows)
    return sums


def _faults(rows: Sequence[dict[str, Any]]) -> list[str]:
    columns = ("mutants", *OUTCOMES)
    cells = []
    for row in rows:
        cells.append([row["format"], *_texts(row, columns), str(row["slowest_s"])])
    cells.append(["all", *_texts(_sums(rows, columns), columns), str(max(row["slowest_s"] for row in rows))])
    return table(("format", *columns, "slowest, s"), cells)


def _kills(rows: Sequence[dict[str, Any]]) -> list[str]:
    columns = ("starts", "kills", "wrong")
    cells = []
    for command in dict.fromkeys(row["command"] for row in rows):
        of_command = [row for row in rows if row["command"] == command]
        cells.append([command, *_texts(_sums(of_command, columns), columns)])
    cells.append(["all", *_texts(_sums(rows, columns), columns)])
    return table(("command", *columns), cells)


def _batch(rows: Sequence[dict[str, Any]]) -> list[str]:
    columns = ("phantoms", "starts", "kills", *TROUBLES)
    titles = {"here": "one machine", "cluster": "two workers"}
    cells = []
    for row in rows:
        cells.append([titles[row["run"]], *_texts(row, columns), f"{row['memory_mib']:+}"])
    lines = table(("run", *columns, "memory, MiB"), cells)
    for row in rows:
        held = ", ".join(f"{mib} ({finished})" for finished, mib in row["held_mib"])
        lines += ["", f"MiB that the run's process held in its longest start, {titles[row['run']]} (after so many "
                      f"phantoms): {held}."]
    return lines
