"""A folder as an annotator leaves it: patients in folders of their own, drawn on in every way that `learn` reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from PartialOrganSegLib.annotation import CandidateTable
from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.formats.strokes import Stroke, Strokes, write_strokes
from PartialOrganSegLib.formats.writing import write_segmentation
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.learning.plan import FolderOptions, Plan, make_plan
from PartialOrganSegLib.organs import label_space_of_names
from Testing.helpers.finetune_data import ORGANS, ct_of
from Testing.helpers.training_data import SPACING_ZYX, write_image

SPACE = label_space_of_names("small", ORGANS)


def grid_of(array: np.ndarray) -> Grid:
    """The grid on which `write_image` puts an array."""
    return Grid((array.shape[2], array.shape[1], array.shape[0]), SPACING_ZYX[::-1])


def write_patient(folder: Path, seed: int, name: str = "image.nii.gz") -> np.ndarray:
    """A CT; its labels: 1 liver, 2 spleen, 3 left kidney."""
    image, labels = ct_of(seed)
    write_image(folder / name, image)
    return labels


def write_mask(path: Path, labels: np.ndarray, value: int) -> Path:
    """The mask of one organ, of ones."""
    return write_image(path, (labels == value).astype(np.uint8))


def write_segments(path: Path, labels: np.ndarray, states: dict[str, str] | None = None) -> Path:
    """A segmentation of 3D Slicer, with what the panel notes of its segments: organ to state."""
    write_segmentation(path, Volume(labels, grid_of(labels)), SPACE)
    if states:
        content = path.read_bytes()
        header, separator, voxels = content.partition(b"\n\n")
        lines = header.decode().split("\n")
        for line in list(lines):
            number = line.partition("_Name:=")[0]
            organ = line.partition(":=")[2].replace(" ", "_")
            if "_Name:=" in line and organ in states:
                for tags, other in enumerate(lines):
                    if other.startswith(f"{number}_Tags:="):
                        lines[tags] = f"{other}PartialOrganSeg.Organ:{organ}|PartialOrganSeg.State:{states[organ]}|"
        path.write_bytes("\n".join(lines).encode() + separator + voxels)
    return path


def write_stroke_file(path: Path, labels: np.ndarray, image: str, organs: dict[str, int]) -> Path:
    """A stroke through the middle of each organ, and one of background."""
    strokes = [Stroke(organ="background", points=[(4.0, 8.0, 30.0), (40.0, 8.0, 30.0)], width_mm=2.0)]
    for organ, value in organs.items():
        z, y, x = np.argwhere(labels == value).mean(0).round() * SPACING_ZYX
        strokes.append(Stroke(organ=organ, points=[(x - 3, y, z), (x + 3, y, z)], width_mm=2.0))
    size = (labels.shape[2], labels.shape[1], labels.shape[0])
    write_strokes(path, Strokes(image=image, drawn_by="a test", licence="CC0-1.0", size=size, strokes=strokes))
    return path


def write_folder(folder: Path) -> Path:
    """Five patients: a liver, two masks, strokes, a segmentation with accepted organs, and one nobody drew on."""
    labels = write_patient(folder / "Müller 1", 0)
    write_mask(folder / "Müller 1" / "liver.nii.gz", labels, 1)
    labels = write_patient(folder / "b", 1, "ct.nii.gz")
    write_mask(folder / "b" / "segmentations" / "spleen.nii.gz", labels, 2)
    write_mask(folder / "b" / "segmentations" / "kidney_left.nii.gz", labels, 3)
    labels = write_patient(folder / "c", 2)
    write_stroke_file(folder / "c" / "drawn.json", labels, "c/image.nii.gz", {"spleen": 2})
    labels = write_patient(folder / "d", 3)
    write_segments(folder / "d" / "reviewed.seg.nrrd", labels, {"liver": "accepted", "spleen": "predicted"})
    write_patient(folder / "nobody", 4)
    return folder


def plan_of(folder: Path, ask=None, space=SPACE, **options) -> Plan:
    return make_plan(folder, folder / "learnt", space, FolderOptions(**options), ask)


def said(plan: Plan) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Case to its kind and its organs."""
    return {case.name: (case.labelling.kind.value, tuple(case.labelling.annotated)) for case in plan.cases}


def known_voxels(plan: Plan, name: str) -> dict[str, np.ndarray]:
    """Where a case of the written manifest is certainly each organ."""
    manifest = load_manifest(plan.manifest)
    case = next(case for case in manifest.cases if case.name == name)
    table = CandidateTable(manifest.label_space.class_count)
    codes = case.read_codes(case.read_image(), manifest.label_space, table)
    singles = {label: code for code, label in table.singletons().items()}
    return {organ.name: codes == singles[organ.index] for organ in manifest.label_space.organs
            if organ.index in singles}


def problems_of(plan: Plan) -> list[str]:
    return [problem.text() for problem in plan.left_out]
