"""Whether the teacher hk13 learns from its own labels: averaged over several spacings, the doubtful left out.

    python scripts/embedded/self_training.py --teacher work/hk13-dense --second work/bowel -o work/self-training

Each CT of `--cases` counts as unlabelled. The teacher sees it at `VIEWS` (test-time averaging), and the mean of its
probabilities on the student's grid is the label, but unknown: where that is below a bound of its organ (the doubtful
fifth of what is called it in all CTs), and where `--second`, another network, says another organ. A student that
starts as the teacher learns that (marginal losses, distillation from the teacher on what is unknown) and is measured
beside it, at the same spacing: on ct/totalseg_example, whose labels are TotalSegmentator's and which is not learnt
from, and on ct/cort_liver, whose are clinicians'. Labels and a finished run are kept in OUT.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import yaml
from build_embedded_data import REPOSITORY
from ct_grids import at_spacing, body_box, crop
from torch.nn import functional

from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.evaluation.metrics import dice
from PartialOrganSegLib.events import ConsoleReporter
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from PartialOrganSegLib.formats.writing import write_ct, write_labelmap
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.models.bundle import Bundle, load_bundle
from PartialOrganSegLib.models.bundle_writing import write_bundle
from PartialOrganSegLib.networks import channels_last
from PartialOrganSegLib.networks.precision import computing_in
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting.predictor import Predictor
from PartialOrganSegLib.training.recipe import load_recipe
from PartialOrganSegLib.training.trainer import train
from PartialOrganSegLib.training.training_step import precision_of
from PartialOrganSegLib.training.working_prediction import predicted_logits

CPU = torch.device("cpu")
CASES = ("crlm_1004", "crlm_1006", "hcc_011", "cptac_c3l_00189", "hcc_006", "waw2144_eq", "pancreas_cb_001", "hcc_009",
         "waw2144_pv")
HELD_OUT = "totalseg_example"
STUDENT_MM = (3.0, 2.0, 2.0)
PATCH = [48, 128, 160]
VIEWS = (STUDENT_MM, (1.97, 1.54, 1.54), (2.27, 1.77, 1.77))  # mm: the student's, the teacher's own, and 15 % more
DOUBTFUL = 0.2  # of an organ's voxels
LEAST_BOUND, BACKGROUND_BOUND = 0.5, 0.9
UNKNOWN = 255
Probabilities = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]


def probabilities(bundle: Bundle, ct: Volume, spacing_zyx: tuple[float, float, float],
                  shape: Sequence[int]) -> Probabilities:
    """(class, z, y, x) of `shape`, by a network that sees the CT at a spacing."""
    seen = at_spacing(ct, spacing_zyx).array
    network = channels_last(bundle.load_network()).eval()
    preprocessing = replace(bundle.preprocessing, spacing_zyx=spacing_zyx)
    logits = predicted_logits(network, seen, preprocessing, bundle.label_space.class_count, CPU,
                              precision=lambda: computing_in(CPU, precision_of(True, CPU)))
    probability = torch.softmax(logits.float(), -1).permute(3, 0, 1, 2)[None]
    return functional.interpolate(probability, tuple(shape), mode="trilinear", align_corners=False)[0].numpy()


def of_organs(probability: Probabilities, bundle: Bundle, organs: Sequence[str]) -> Labels:
    """Which of `organs`, from 1, a network that may know more of them finds likeliest; 0 for all else."""
    known = probability[[bundle.label_space.index(organ) for organ in organs]]
    rest = 1 - known.sum(0, keepdims=True)
    labels: Labels = np.concatenate([rest, known]).argmax(0).astype(np.uint8)
    return labels


def bounds(labels: Sequence[Labels], confidences: Sequence[Probabilities], classes: int) -> list[float]:
    """Of each class the probability below which a voxel that is called it stays unknown."""
    found = [BACKGROUND_BOUND]
    for value in range(1, classes):
        of_class = np.concatenate([sure[called == value] for called, sure in zip(labels, confidences, strict=True)])
        bound = LEAST_BOUND
        if len(of_class):
            bound = max(bound, float(np.quantile(of_class, DOUBTFUL)))
        found.append(bound)
    return found


def bounded(labels: Labels, confidence: Probabilities, bound: Sequence[float], second: Labels) -> Labels:
    """The labels with `UNKNOWN` where they are below their bound, and where two networks name different organs."""
    doubtful = confidence < np.asarray(bound)[labels]
    differ = (labels > 0) & (second > 0) & (labels != second)
    return np.where(doubtful | differ, np.uint8(UNKNOWN), labels)


def make_labels(out: Path, data: Path, cases: Sequence[str], teacher: Bundle, second: Bundle) -> Path:
    """OUT/manifest.yaml over the CTs with labels of their own, on the student's grid."""
    organs = teacher.label_space.names
    labels, confidences, others, images = [], [], [], []
    for case in cases:
        ct = read_ct(data / "ct" / case / "image.nii.gz", force=True).canonical()
        ct = crop(ct, body_box(ct))
        image = at_spacing(ct, STUDENT_MM)
        mean = np.mean([probabilities(teacher, ct, view, image.array.shape) for view in VIEWS], axis=0)
        labels.append(mean.argmax(0).astype(np.uint8))
        confidences.append(mean.max(0))
        spacing = second.preprocessing.spacing_zyx
        others.append(of_organs(probabilities(second, ct, spacing, image.array.shape), second, organs))
        images.append(image)
        print(f"{case}: labelled", flush=True)
    bound = bounds(labels, confidences, teacher.label_space.class_count)
    entries = []
    for case, image, called, sure, other in zip(cases, images, labels, confidences, others, strict=True):
        write_ct(out / f"{case}_image.nii.gz", image)
        write_labelmap(out / f"{case}_label.nii.gz", Volume(bounded(called, sure, bound, other), image.grid))
        entries.append({"image": f"{case}_image.nii.gz", "label": f"{case}_label.nii.gz", "name": case})
    anything: dict[int, list[str]] = {UNKNOWN: ["background", *organs]}
    manifest = out / "manifest.yaml"
    manifest.write_text(yaml.safe_dump({"label_space": list(organs), "datasets": [
        {"name": "own labels", "kind": "partial", "annotated": list(organs), "label_map": anything,
         "cases": entries}]}))
    return manifest


def at_student_spacing(teacher: Bundle, folder: Path) -> Bundle:
    """The teacher as it is, at the student's spacing."""
    facts = teacher.metadata.partialorganseg
    return write_bundle(folder, teacher.load_network(), teacher.network_name, teacher.network_arguments,
                        teacher.label_space, replace(teacher.preprocessing, spacing_zyx=STUDENT_MM), "teacher", "1",
                        facts.licences.model_dump(), [], {}, "The teacher at the student's spacing")


def train_student(out: Path, manifest: Path, start: Bundle, steps: int, rate: float, seed: int) -> Bundle:
    """The student, from OUT/RUN where it was trained before."""
    seen = start.preprocessing
    settings: dict[str, object] = {
        "manifest": str(manifest), "start_from": str(start.folder), "air_is_background": True, "voxels_per_set": 60000,
        "preprocessing": {"spacing_zyx": list(STUDENT_MM), "patch_zyx": PATCH, "clip_hu": list(seen.clip_hu),
                          "subtract": seen.subtract, "divide": seen.divide}, "batch_size": 1, "seed": seed,
        "losses": {"marginal_cross_entropy": 1.0, "marginal_dice": 0.1, "distillation": 1.0}, "steps": steps,
        "deep_supervision": {"weights": [1.0, 0.0, 0.0]}, "sampling": {"datasets": "weight", "anywhere": 0.5},
        "augmentation": {"strength": 1.2}, "validation": None, "workers": 0,
        "optimiser": {"name": "adamw", "learning_rate": rate, "weight_decay": 0.01, "warmup_steps": 20, "ema": 0.99},
        "bundle": {"name": "student", "licences": {"code": "Apache-2.0", "weights": "research", "data": "see card"}}}
    recipe = out / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(settings))
    run = out / f"run-{steps}-{rate:g}-{seed}"
    if not (run / "model").exists():
        train(load_recipe(recipe), run, (run / "checkpoints" / "last.pt").exists(), "cpu", ConsoleReporter())
    return load_bundle(run / "model")


def figures(bundle: Bundle, data: Path) -> dict[str, dict[str, float]]:
    """Dice by whose labels and organ, on CTs that are not learnt from."""
    cases = [case for case in load_manifest(data / "manifest.yaml").cases if case.image.parent.name == HELD_OUT]
    measured: dict[str, dict[str, float]] = {}
    for case in (*cases, *load_manifest(data / "manifest_test.yaml").cases):
        assert case.label is not None
        labels = Predictor(bundle, "cpu").predict(case.read_image()).labels.array
        reference = read_labelmap(case.label).array
        unknown = np.isin(reference, [value for value, names in case.label_map if len(names) == WORD16.class_count])
        of_case = {}
        for organ in bundle.label_space.names:
            there = reference == WORD16.index(organ)
            if there.any():
                value = dice((labels == bundle.label_space.index(organ)) & ~unknown, there)
                of_case[organ] = value or 0.0
        measured[case.image.parent.name] = of_case
    return measured


def print_figures(start: Mapping[str, Mapping[str, float]], student: Mapping[str, Mapping[str, float]]) -> None:
    """A line an organ: the teacher's, and what the student gained."""
    for case, of_case in start.items():
        for organ, value in of_case.items():
            print(f"{case}  {organ}: {value:.3f} {student[case][organ] - value:+.3f}")


def main() -> None:
    """Makes what is not there yet, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--teacher", required=True, help="the dense teacher (dense_teacher.py)")
    parser.add_argument("--second", required=True, help="another network of the same organs")
    parser.add_argument("--cases", nargs="+", default=CASES)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rate", type=float, default=1e-5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    out = arguments.output.resolve()
    out.mkdir(parents=True, exist_ok=True)
    teacher = load_bundle(arguments.teacher)
    manifest = out / "manifest.yaml"
    if not manifest.exists():
        make_labels(out, arguments.data, arguments.cases, teacher, load_bundle(arguments.second))
    start = at_student_spacing(teacher, out / "start")
    student = train_student(out, manifest, start, arguments.steps, arguments.rate, arguments.seed)
    print_figures(figures(start, arguments.data), figures(student, arguments.data))


if __name__ == "__main__":
    main()
