"""Small cases, manifests and recipes on disk for the tests of training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
import yaml

from PartialOrganSegLib.imaging.volume import Grid

SPACING_ZYX = (3.0, 2.0, 2.0)
HU = {0: -100.0, 1: 120.0, 2: 300.0, 3: 450.0}  # background, liver, spleen, left kidney


def write_image(path: Path, array: np.ndarray, grid: Grid | None = None) -> Path:
    """Writes a (z, y, x) array as it is, on `grid` or at the cases' own spacing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    grid = grid or Grid(array.shape[::-1], SPACING_ZYX[::-1])
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    sitk.WriteImage(image, str(path))
    return path


def blocks(seed: int, shape: tuple[int, int, int] = (12, 24, 24)) -> tuple[np.ndarray, np.ndarray]:
    """CT (int16 HU) and labels (uint8) of three cuboid organs that differ in HU, at places given by `seed`."""
    generator = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    for organ, corner in ((1, (1, 2, 2)), (2, (1, 13, 2)), (3, (5, 6, 13))):
        # Corners and sizes vary, yet no two organs touch.
        low = np.array(corner) + generator.integers(0, 2, 3)
        size = generator.integers(5, 8, 3)
        labels[tuple(slice(a, a + n) for a, n in zip(low, size, strict=True))] = organ
    noise = generator.normal(0, 10, shape)
    return (np.vectorize(HU.get)(labels) + noise).astype(np.int16), labels


def write_case(folder: Path, name: str, seed: int) -> dict[str, str]:
    """One case's files; its entry in a manifest that lies in `folder`."""
    image, labels = blocks(seed)
    write_image(folder / f"{name}_image.nii.gz", image)
    write_image(folder / f"{name}_label.nii.gz", labels)
    return {"image": f"{name}_image.nii.gz", "label": f"{name}_label.nii.gz", "name": name}


def write_yaml(path: Path, content: object) -> Path:
    """Writes YAML and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def write_manifest(folder: Path, cases: int = 2) -> Path:
    """A manifest of fully labelled block cases with organs 1-3."""
    entries = [write_case(folder, f"case{number}", number) for number in range(cases)]
    return write_yaml(folder / "manifest.yaml", {"datasets": [{"name": "blocks", "kind": "full", "cases": entries}]})


def write_recipe(folder: Path, manifest: Path, **changes: object) -> Path:
    """A recipe that trains in seconds."""
    settings = {
        "manifest": str(manifest), "preprocessing": {"spacing_zyx": list(SPACING_ZYX), "patch_zyx": [8, 16, 16]},
        # Two levels of eight channels, on the CPU, without workers: a training takes seconds.
        "network": {"name": "light_unet", "arguments": {"channels": [8, 8]}},
        "optimiser": {"learning_rate": 0.02, "warmup_steps": 2, "ema": 0.5}, "augmentation": {"strength": 0.0},
        "batch_size": 2, "steps": 20, "checkpoint_every": 10, "workers": 0, "half_precision": False,
    }
    return write_yaml(folder / "recipe.yaml", settings | changes)
