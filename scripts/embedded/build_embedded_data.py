"""Builds the embedded model's training set: real CTs, CTs warped onto other anatomies, CTs synthesised from label maps.

    python scripts/embedded/build_embedded_data.py

reads ../shared/data and writes work/embedded-data, where the recipe embedded.yaml looks for it. Everything lies at
about 3 x 2 x 2 mm (z, y, x) in LPS. A second run makes only what is missing; `manifest.yaml` lists what is there.
scripts/embedded/add_soft_targets.py then adds what the teacher network says of the CTs, as probabilities.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from case_files import (
    dice_file,
    image_file,
    label_file,
    make_anatomy,
    make_real,
    make_synthetic,
    make_teacher_labels,
    make_warp,
)
from parallel_jobs import Job, run_jobs
from source_cases import SourceCase, anatomy_sources, chest_cases, dicom_case, labelled_cases
from training_manifest import write_manifest

REPOSITORY = Path(__file__).resolve().parents[2]
STROKES = REPOSITORY / "Resources" / "strokes"


def random_for(seed: int, name: str) -> np.random.Generator:
    """A generator that depends on the case only, so that more warps leave the first ones as they are."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def anatomy_for(name: str, anatomies: Sequence[Path], number: int, seed: int) -> tuple[Path, float]:
    """The WORD map that a CT's warp `number` (from 0) goes onto, and the strength of it."""
    rng = random_for(seed, name)
    order, strengths = rng.permutation(len(anatomies)), rng.uniform(0.6, 1.0, len(anatomies))
    return anatomies[order[number]], float(strengths[number])


def real_jobs(cases: Sequence[SourceCase], folder: Path) -> list[Job]:
    """The CTs as they are, resampled."""
    return [Job(image_file(folder / case.name), make_real, (case, folder / case.name)) for case in cases]


def teacher_jobs(chests: Sequence[SourceCase], model: Path, folder: Path) -> list[Job]:
    """The teacher's labels of the CTs that have no other."""
    jobs = []
    for case in chests:
        target = label_file(folder / case.name)
        jobs.append(Job(target, make_teacher_labels,
                        (case.image, model, image_file(folder / case.name), case.annotated, target)))
    return jobs


def warp_jobs(cases: Sequence[SourceCase], anatomies: Sequence[Path], number: int, out: Path, strokes: Path,
              seed: int) -> list[Job]:
    """Every labelled CT warped onto its next anatomy."""
    jobs = []
    for case in cases:
        anatomy, strength = anatomy_for(case.name, anatomies, number, seed)
        target = out / "warped" / f"{case.name}__{anatomy.name.removesuffix('.nii.gz')}"
        jobs.append(Job(dice_file(target), make_warp, (out / "real" / case.name, anatomy, case.annotated,
                                                       strokes / f"{case.name}.json", strength, target)))
    return jobs


def synthetic_jobs(anatomies: Sequence[Path], count: int, out: Path, seed: int) -> list[Job]:
    """`count` CTs round every label map."""
    jobs = []
    for position, anatomy in enumerate(anatomies):
        for number in range(count):
            target = out / "synthetic" / f"{anatomy.name.removesuffix('.nii.gz')}_{number}"
            jobs.append(Job(image_file(target), make_synthetic, (anatomy, [seed, position, number], target)))
    return jobs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data",
                        help="folder with manifest.yaml, ct/, teacher/ ...")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "work" / "embedded-data")
    parser.add_argument("--warps", type=int, default=3, help="WORD anatomies each labelled CT is warped onto")
    parser.add_argument("--synthetic", type=int, default=2, help="CTs synthesised from each WORD map")
    parser.add_argument("--strokes", type=Path, default=STROKES, help="folder with drawn strokes NAME.json")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes, one core and about 2 GB each")
    settings = parser.parse_args()
    data, out, workers = settings.data, settings.out, settings.workers

    cases, chests, dicom = labelled_cases(data), chest_cases(data), dicom_case(data)
    everything = [*cases, *chests, dicom]
    for folder in ("real", "anatomy", "warped", "synthetic"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    sources = anatomy_sources(data, out / "anatomy")
    # The teacher needs the resampled CTs, warps need CTs and anatomies, so these come first.
    jobs = real_jobs([*cases, *chests, dicom], out / "real")
    jobs += [Job(anatomy, make_anatomy, (label, anatomy)) for anatomy, label in sources.items()]
    run_jobs(jobs, workers)
    run_jobs(teacher_jobs(chests, data / "teacher" / "hk13.onnx", out / "real"), workers)
    # The manifest is renewed after every part, so that training can begin before the last warp is made.
    write_manifest(out, everything, settings.strokes)

    # Organs that another map names otherwise would be deformed onto the wrong place: CTs are warped onto WORD's alone.
    word = [anatomy for anatomy, label in sources.items() if label.parent.name == "word"]
    for number in range(settings.warps):
        run_jobs(warp_jobs(cases, word, number, out, settings.strokes, settings.seed), workers)
        write_manifest(out, everything, settings.strokes)

    run_jobs(synthetic_jobs(list(sources), settings.synthetic, out, settings.seed), workers)
    write_manifest(out, everything, settings.strokes)


if __name__ == "__main__":
    main()
