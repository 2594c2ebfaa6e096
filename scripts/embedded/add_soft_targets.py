"""Adds the teacher network's soft targets to the embedded model's training set.

    python scripts/embedded/add_soft_targets.py

goes over the cases of work/embedded-data/manifest.yaml (from build_embedded_data.py), writes soft/NAME.npz for the
real CTs and for those warped onto other anatomies, and beside the manifest, which stays as it is, manifest_soft.yaml.
A second run makes only what is missing; an interrupted one leaves a manifest of what is there.
"""

from __future__ import annotations

import argparse
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import teacher
import yaml
from build_embedded_data import REPOSITORY
from ct_grids import at_spacing, body_box, crop
from parallel_jobs import Job, run_jobs
from scipy import ndimage
from source_cases import TEACHER_CASES

from PartialOrganSegLib.atomic import whole_file
from PartialOrganSegLib.datasets.soft_targets import REST, SoftTargets, quantised, write_soft_targets
from PartialOrganSegLib.formats.reading import read_ct

# Synthesised CTs are no images that the teacher knows, and it sees too little in twenty slices.
WITHOUT = {"synthetic", "totalseg117"}


def make_soft_targets(image: Path, model: Path, case_image: Path, organs: list[str], target: Path) -> None:
    """The teacher's probabilities of `organs` and of all else on the grid of `case_image`, which shows part of `image`.

    They are computed at the teacher's spacing from the CT at its best resolution.
    """
    ct = at_spacing(read_ct(image), teacher.SPACING_ZYX)
    ct = crop(ct, body_box(ct))
    channels, grid = teacher.probabilities(model, ct.array, organs), read_ct(case_image).canonical().grid
    # Voxels of the case's grid to voxels of the teacher's: both run along the patient's axes, so a scale and a shift.
    step = np.linalg.inv(ct.grid.matrix) @ grid.matrix
    scale, offset = np.diag(step)[2::-1], step[2::-1, 3]
    placed = np.stack([ndimage.affine_transform(channel, scale, offset, grid.shape, order=1, mode="nearest")
                       for channel in channels])
    write_soft_targets(target, SoftTargets(quantised(placed), grid, ((REST,), *((organ,) for organ in organs))))


def trusted_organs(case: dict[str, Any]) -> list[str]:
    """The organs that the teacher knows and got right in a case: those that its labels were kept of.

    What it says of the others counts as "all else", so that a tumour which it takes for a gallbladder teaches nothing.
    """
    annotated = case["annotated"]
    if case["group"] in TEACHER_CASES:
        annotated, _ = TEACHER_CASES[case["group"]]
    return [organ for organ in dict.fromkeys(teacher.CLASSES.values()) if organ in annotated]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data",
                        help="folder with ct/ and teacher/")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "work" / "embedded-data",
                        help="folder that build_embedded_data.py has filled")
    parser.add_argument("--workers", type=int, default=1, help="processes, one core and about 2 GB each")
    settings = parser.parse_args()
    data, out = settings.data, settings.out
    (out / "soft").mkdir(exist_ok=True)
    manifest = yaml.safe_load((out / "manifest.yaml").read_text(encoding="utf-8"))
    cases: list[dict[str, Any]] = []
    for dataset in manifest["datasets"]:
        if dataset["name"] not in WITHOUT:
            cases += [case for case in dataset["cases"] if trusted_organs(case)]
    cases.sort(key=lambda case: not case["image"].startswith("real/"))  # the real ones matter most
    jobs = []
    for case in cases:
        image = source = out / case["image"]
        if case["image"].startswith("real/"):  # there is a better resolution of it than the training set's
            source = data / "ct" / case["group"] / "image.nii.gz"
        case["soft_targets"] = f"soft/{image.name.removesuffix('_image.nii.gz')}.npz"
        target = out / case["soft_targets"]
        jobs.append(Job(target, make_soft_targets,
                        (source, data / "teacher" / "hk13.onnx", image, trusted_organs(case), target)))
    try:
        run_jobs(jobs, settings.workers)
    finally:
        write_manifest(out, manifest)


def write_manifest(out: Path, manifest: dict[str, Any]) -> None:
    """`manifest_soft.yaml`: `manifest` with the soft targets that exist."""
    manifest = deepcopy(manifest)
    for dataset in manifest["datasets"]:
        for case in dataset["cases"]:
            if "soft_targets" in case and not (out / case["soft_targets"]).exists():
                del case["soft_targets"]
    with whole_file(out / "manifest_soft.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True), encoding="utf-8")


if __name__ == "__main__":
    main()
