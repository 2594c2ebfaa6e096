"""Manifests of a data set or two, written, read and checked."""

from __future__ import annotations

from pathlib import Path

from PartialOrganSegLib.datasets.manifest import Manifest, check_manifest, load_manifest
from Testing.helpers.listener import Listener
from Testing.helpers.training_data import write_yaml

EVERYTHING = set(range(17))  # WORD's classes, the background among them


def dataset(**changes: object) -> dict:
    """An entry of fully labelled cases, `changes` apart."""
    return {"name": "set", "kind": "full", "cases": [{"image": "a.nii.gz", "label": "l.nii.gz"}]} | changes


def manifest(folder: Path, *datasets: dict, **top: object) -> Manifest:
    """The manifest of these data sets, by default of `dataset()`; `top` are its other settings."""
    return load_manifest(write_yaml(folder / "manifest.yaml", {"datasets": list(datasets) or [dataset()]} | top))


def problems(folder: Path, *datasets: dict) -> tuple[list[str], list[str]]:
    """Problems and warnings that checking the data sets gives."""
    listener = Listener()
    detected = check_manifest(manifest(folder, *datasets), listener)
    return [problem.text() for problem in detected], listener.warnings
