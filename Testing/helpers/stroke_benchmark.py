"""What the benchmarks of strokes share: the CTs, our corrector, the command line, and rows that outlive a run."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from PartialOrganSegLib.datasets.case import Case
from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.refining.session import RefineSession
from Testing.helpers.stroke_user import Drawn, Scene

MANIFEST = Path(__file__).resolve().parents[3] / "shared" / "data" / "manifest.yaml"

Corrector = Callable[[Drawn], np.ndarray]
"""Takes a stroke, gives the labels after it."""


def refining(scene: Scene) -> Corrector:
    """The library's session on a scene, which begins at the model's labels."""
    session = RefineSession(scene.ct, Volume(scene.start, scene.ct.grid), WORD16)

    def correct(stroke: Drawn) -> np.ndarray:
        return session.add(Volume(stroke.on_map(scene.start.shape), scene.ct.grid)).labels.array

    return correct


def arguments_of(text: str | None, *, with_cases: bool = True) -> argparse.ArgumentParser:
    """The options that all of them have, `text` being the module's docstring; each adds what it needs beside."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, default=MANIFEST)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path, help="write the figures of what is there as JSON; nothing is run")
    if with_cases:
        parser.add_argument("--cases", nargs="*", default=[], help="default: all of the manifest")
        parser.add_argument("--minutes", type=float, default=1e6, help="begin nothing after these")
    return parser


def cases_of(manifest: Path) -> dict[str, Case]:
    """A manifest's cases by the folders that they lie in."""
    return {case.image.parent.name: case for case in load_manifest(manifest).cases}


def read_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file; none where there is no file."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().splitlines()]


def append_rows(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Adds rows, so that a run which is ended can go on from them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "a") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)


def write_table(file: Path, figures: object) -> None:
    """Figures as the pages of docs/ read them."""
    file.write_text(json.dumps(figures, indent=1) + "\n")
