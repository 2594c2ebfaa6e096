"""Builds the embedded model's training set: real CTs, CTs warped onto other anatomies, CTs synthesised from label maps.

    python scripts/embedded/build_embedded_data.py

reads ../shared/data and writes work/embedded-data, where the recipe embedded.yaml looks for it. Everything lies at
about 3 x 2 x 2 mm (z, y, x) in LPS. A second run makes only what is missing; `manifest.yaml` lists what is there.
scripts/embedded/add_soft_targets.py then adds what the teacher network says of the CTs, as probabilities.
"""

from __future__ import annotations

import argparse
import json
import os
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from copy import deepcopy
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import teacher
import torch
import yaml
from points import resample_labels
from scipy import ndimage
from warping import register

from PartialOrganSegLib.atomic import whole_file
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from PartialOrganSegLib.formats.strokes import NOT_DRAWN, paint_strokes, read_strokes
from PartialOrganSegLib.formats.writing import write_ct, write_labelmap
from PartialOrganSegLib.imaging.resampling import resample_box, working_shape
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organ_records import organ_record
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.synthesis.synthetic_ct import synthesise_ct

REPOSITORY = Path(__file__).resolve().parents[2]
STROKES = REPOSITORY / "Resources" / "strokes"
SPACING_ZYX = (3.0, 2.0, 2.0)
WARP_CHECK_SPACING_ZYX = (4.0, 3.0, 3.0)  # where a registration's Dice is measured
BODY_HU, BODY_MARGIN_MM = -300, 10.0
ORGAN_MARGIN_MM = (30.0, 90.0, 60.0)  # z, y, x around a WORD map's organs, where the synthetic body has to fit

# CTs that end above the pelvis (looked at): these organs are certainly not in them, and nothing else would say so.
NOT_IN_AN_ABDOMEN = [name for name in WORD16.names if "abdomen" not in organ_record(name).shows_in]
WITHOUT_PELVIS = {"crlm_1004", "crlm_1006", "cptac_c3l_00189", "hcc_006", "hcc_011", "waw2144_eq",
                  "hcc_009"}

# CTs without labels: the organs that the teacher got right, and those that the field of view does not reach, judged by
# looking at every outline. The teacher's other labels (a gallbladder in the heart, a broken esophagus) are dropped.
TEACHER_CASES: dict[str, tuple[list[str], list[str]]] = {
    "cmb_crc_01068": (["liver", "spleen", "esophagus"],
                      ["left_kidney", "right_kidney", "gallbladder", "pancreas", "duodenum", "intestine", "adrenal",
                       *NOT_IN_AN_ABDOMEN]),
    "totalseg_aorta_crop": (["liver", "spleen", "stomach"], NOT_IN_AN_ABDOMEN),
    "totalseg_pulmonary_crop": ([], ["left_kidney", "right_kidney", "duodenum", "intestine", *NOT_IN_AN_ABDOMEN]),
}

# Label maps without images that CTs are synthesised from, by folder. WORD and AbdomenAtlas name all sixteen organs (the
# latter draws the femur's neck and a piece of its shaft too); TotalSegmentator's colon includes the rectum.
ANATOMIES: dict[str, dict[int, list[str]]] = {
    "word": {},
    "abdomenatlas": {15: ["head_of_left_femur", "background"], 16: ["head_of_right_femur", "background"]},
    "totalseg": {10: ["colon", "rectum"], 15: ["head_of_left_femur", "background"],
                 16: ["head_of_right_femur", "background"]},
}

# In a warped label map, strokes lie as this plus the organ's number (0: background): label_map can then name them.
STROKE_VALUES = 100
STROKE_MAP = {STROKE_VALUES: ["background"]} | {STROKE_VALUES + number: [name]
                                                for number, name in enumerate(WORD16.names, start=1)}

# TotalSegmentator v2's class numbers as ours. Its colon may be colon or rectum, its femur is the whole bone.
TOTALSEG_CLASSES = {1: 2, 2: 4, 3: 3, 4: 6, 5: 1, 6: 5, 7: 8, 8: 12, 9: 12, 15: 7, 18: 11, 19: 9, 20: 10, 21: 14,
                    75: 15, 76: 16}
TOTALSEG_MAP = {10: ["colon", "rectum"], 15: ["head_of_left_femur", "background"],
                16: ["head_of_right_femur", "background"]}

# How often patches come from each dataset. Labels on real CTs lead. The one whole-body case of totalseg_example, the
# thick slices of totalseg117 and the chests of teacher are single cases that must not dominate; warped CTs repeat their
# source's labels, and synthetic ones are the only full labels but not real images.
WEIGHTS = {"hk13": 1.5, "warped_hk13": 1.2, "totalseg_example": 0.5, "warped_totalseg_example": 0.4, "teacher": 0.1,
           "totalseg117": 0.15, "synthetic": 0.9, "synthetic_abdomenatlas": 0.06, "synthetic_totalseg": 0.12}

# Bowel loops of two people do not correspond, and TotalSegmentator's femur is not WORD's femoral head.
NOT_REGISTERED = {"colon", "intestine", "rectum", "head_of_left_femur", "head_of_right_femur"}


def at_spacing(ct: Volume, spacing_zyx: tuple[float, float, float]) -> Volume:
    """A CT as int16 on an LPS grid of about `spacing_zyx` mm that fills the same box, resampled as for inference."""
    ct = ct.canonical()
    shape, spacing = np.asarray(ct.grid.shape), np.asarray(ct.grid.spacing[::-1])
    target = working_shape(shape, spacing, spacing_zyx)
    z, y, x = (slice(0, int(n)) for n in shape)
    pixels = resample_box(ct.array, (z, y, x), target).round().clamp(max=32767).numpy().astype(np.int16)
    step = (spacing * shape / target)[::-1]
    first = ct.grid.matrix @ np.array([*(shape[::-1] / target[::-1] - 1) / 2, 1])  # the boxes' edges coincide
    return Volume(pixels, Grid(target[::-1], tuple(float(s) for s in step), tuple(float(o) for o in first[:3]),
                               ct.grid.direction))


def crop(volume: Volume, box: tuple[slice, slice, slice]) -> Volume:
    """The part of a canonical volume within `box` (z, y, x slices)."""
    grid = volume.grid
    start = np.array([s.start for s in box[::-1]])
    array = volume.array[box]
    origin = grid.matrix[:3, :3] @ start + grid.matrix[:3, 3]
    return Volume(array, Grid(array.shape[::-1], grid.spacing, tuple(float(o) for o in origin), grid.direction))


def padded(box: Iterable[slice], volume: Volume, margin_mm: Iterable[float]) -> tuple[slice, slice, slice]:
    """`box` widened by `margin_mm` (z, y, x), within the volume."""
    margins = [int(np.ceil(m / s)) for m, s in zip(margin_mm, volume.grid.spacing[::-1], strict=True)]
    z, y, x = (slice(max(0, s.start - m), min(n, s.stop + m))
               for s, m, n in zip(box, margins, volume.array.shape, strict=True))
    return z, y, x


def body_box(ct: Volume) -> tuple[slice, slice, slice]:
    """The box around the body, with BODY_MARGIN_MM; the table goes as far as it is not below the body."""
    body = ndimage.binary_opening(ct.array > BODY_HU, np.ones((1, 5, 5)))
    components, count = ndimage.label(body)
    if count == 0:
        return slice(0, ct.array.shape[0]), slice(0, ct.array.shape[1]), slice(0, ct.array.shape[2])
    largest = 1 + int(np.argmax(np.bincount(components.ravel())[1:]))
    return padded(ndimage.find_objects(components)[largest - 1], ct, [BODY_MARGIN_MM] * 3)


def make_real(image: Path, label: Path | None, annotated: list[str], label_map: dict[int, list[str]], target: Path,
              convert: dict[int, int] | None = None) -> None:
    """`target`_image and `target`_label (if `label`): resampled, cropped to the body; `convert` renumbers.

    Organs that the case does not vouch for become 0, which says the same: anything that is not annotated.
    """
    ct = at_spacing(read_ct(image), SPACING_ZYX)
    ct = crop(ct, body_box(ct))
    if label is not None:
        labels = read_labelmap(label)
        table = np.zeros(256, np.uint8)
        for value, ours in (convert or {v: v for v in range(1, WORD16.class_count)}).items():
            if ours in label_map or WORD16.names[ours - 1] in annotated:
                table[value] = ours
        labels = Volume(table[labels.array], labels.grid)
        write_labelmap(named(target, "label"), resample_labels(labels, ct.grid))
    write_ct(named(target, "image"), ct)


def make_teacher_labels(image: Path, model: Path, real: Path, trusted: list[str], target: Path) -> None:
    """The teacher's labels of the `trusted` organs on the grid of the resampled image `real`."""
    ct = at_spacing(read_ct(image), teacher.SPACING_ZYX)
    ct = crop(ct, body_box(ct))
    labels = teacher.segment(model, ct.array)
    labels[~np.isin(labels, WORD16.indices(trusted))] = 0
    write_labelmap(target, resample_labels(Volume(labels, ct.grid), read_ct(real).grid))


def make_anatomy(label: Path, target: Path) -> None:
    """A WORD map at our spacing, cropped around its organs."""
    labels = read_labelmap(label).canonical()
    grid = labels.grid  # a CT is painted onto the voxels' own axes, so a tilt of the scanner's bed is of no interest
    labels = Volume(labels.array, Grid(grid.size, grid.spacing, grid.origin))
    labels = crop(labels, padded(ndimage.find_objects((labels.array > 0).astype(np.uint8))[0], labels, ORGAN_MARGIN_MM))
    step = np.asarray(SPACING_ZYX[::-1])
    extent = (np.asarray(labels.grid.size) - 1) * np.asarray(labels.grid.spacing)
    size = tuple(int(n) for n in np.floor(extent / step + 1e-6) + 1)
    write_labelmap(target, resample_labels(labels, Grid(size, tuple(step), labels.grid.origin)))


def with_strokes(labels: Volume, strokes: Path) -> Volume:
    """`labels` with the strokes painted over them, as STROKE_VALUES + organ."""
    drawn = paint_strokes(read_strokes(strokes), labels.grid, WORD16).array
    return Volume(np.where(drawn == NOT_DRAWN, labels.array, drawn + STROKE_VALUES).astype(np.uint8), labels.grid)


def make_warp(real: Path, anatomy: Path, organs: list[str], strokes: Path, strength: float, target: Path) -> None:
    """`real`_image, _label and `strokes` (where they exist) warped onto `anatomy`.

    The registration's Dice per organ goes to `target`_dice.json.
    """
    ct, labels, fixed = read_ct(named(real, "image")), read_labelmap(named(real, "label")), read_labelmap(anatomy)
    matched = [WORD16.index(organ) for organ in organs if organ not in NOT_REGISTERED]
    warp = register(labels, fixed, matched)
    _, warped = warp.apply(ct, labels, WARP_CHECK_SPACING_ZYX)
    aim = warp.target(fixed, warped.grid)
    dice = {}
    for index in matched:
        ours, theirs = warped.array == index, aim.array == index
        if ours.any() and theirs.any():
            overlap = 2 * float((ours & theirs).sum()) / float(ours.sum() + theirs.sum())
            dice[WORD16.organs[index - 1].name] = round(overlap, 3)
    drawn = with_strokes(labels, strokes) if strokes.exists() else labels
    image, mask = warp.apply(ct, drawn, SPACING_ZYX, strength)
    box = body_box(image)
    write_labelmap(named(target, "label"), crop(mask, box))
    write_ct(named(target, "image"), crop(image, box))
    with whole_file(target.with_name(target.name + "_dice.json")) as temporary:
        temporary.write_text(json.dumps({"strength": round(strength, 3), "dice": dice,
                                         "lowest_jacobian": round(float(warp.jacobian(strength).min()), 3)}))


def make_synthetic(anatomy: Path, seed: list[int], target: Path) -> None:
    """`target`_image synthesised from a WORD map and the map itself."""
    labels = read_labelmap(anatomy)
    image = synthesise_ct(labels, np.random.default_rng(seed), WORD16)
    box = body_box(image)
    write_labelmap(named(target, "label"), crop(labels, box))
    write_ct(named(target, "image"), crop(image, box))


def named(stem: Path, what: str) -> Path:
    """`stem`_image.nii.gz or `stem`_label.nii.gz."""
    return stem.with_name(f"{stem.name}_{what}.nii.gz")


def random_for(seed: int, name: str) -> np.random.Generator:
    """A generator that depends on the case only, so that more warps leave the first ones as they are."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def run(jobs: list[tuple[Path, Callable[..., None], tuple[Any, ...]]], workers: int) -> None:
    """Runs the jobs whose file is missing. One failure stops the script after the others have ended."""
    todo = [job for job in jobs if not job[0].exists()]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=torch.set_num_threads,
                             initargs=(1,)) as pool:
        names = {pool.submit(function, *arguments): target for target, function, arguments in todo}
        for done, future in enumerate(as_completed(names), start=1):
            future.result()
            print(f"[{done}/{len(todo)}] {names[future].name}", flush=True)


def labelled_cases(data: Path) -> list[dict[str, Any]]:
    """The labelled CTs of the data's own manifest: name, dataset, image, label, annotated, label_map.

    `label_map`: label value -> list of the organs it may be. Values of organs that a case ignores become 0, as all do
    that it does not vouch for.
    """
    manifest = yaml.safe_load((data / "manifest.yaml").read_text(encoding="utf-8"))
    cases = []
    for dataset in manifest["datasets"]:
        for case in dataset["cases"]:
            name, ignored = Path(case["image"]).parent.name, case.get("ignored", dataset.get("ignored", []))
            annotated = [organ for organ in case.get("annotated", dataset["annotated"]) if organ not in ignored]
            cases.append({"name": name, "dataset": dataset["name"], "image": data / case["image"],
                          "label": data / case["label"], "annotated": annotated,
                          "absent": NOT_IN_AN_ABDOMEN if name in WITHOUT_PELVIS else [],
                          "label_map": dataset.get("label_map", {})})
    return cases


def anatomies_for(name: str, anatomies: list[Path], count: int, seed: int) -> list[tuple[Path, float]]:
    """`count` WORD maps drawn for a CT, each with the strength of the warp onto it."""
    rng = random_for(seed, name)
    order, strengths = rng.permutation(len(anatomies)), rng.uniform(0.6, 1.0, len(anatomies))
    return [(anatomies[i], float(s)) for i, s in zip(order[:count], strengths[:count], strict=True)]


def relative(path: Path, folder: Path) -> str:
    """`path` as seen from `folder`, absolute where that cannot be (another drive)."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:
        return path.resolve().as_posix()


def write_manifest(out: Path, cases: list[dict[str, Any]], strokes: Path) -> None:
    """`manifest.yaml` over everything that exists in `out`."""
    datasets: dict[str, dict[str, Any]] = {}

    def add(dataset: str, settings: dict[str, Any], stem: Path, group: str, **facts: Any) -> None:
        image, label = named(stem, "image"), named(stem, "label")
        if image.exists() and label.exists():
            entry = datasets.setdefault(dataset, {"name": dataset, "weight": WEIGHTS[dataset], **deepcopy(settings),
                                                    "cases": []})
            entry["cases"].append({"image": str(image.relative_to(out)), "label": str(label.relative_to(out)),
                                   "group": group, **facts})

    for case in cases:
        name, annotated = case["name"], [*case["annotated"], *case.get("absent", [])]
        settings = {"kind": "partial"}
        if case["label_map"]:
            settings["label_map"] = case["label_map"]
        drawn = strokes / f"{name}.json"
        facts = {"strokes": relative(drawn, out)} if drawn.exists() else {}
        add(case["dataset"], settings, out / "real" / name, name, annotated=list(annotated), **facts)
        if drawn.exists():
            settings = settings | {"label_map": settings.get("label_map", {}) | STROKE_MAP}
        for warped in sorted((out / "warped").glob(f"{name}__*_image.nii.gz")):
            stem = warped.with_name(warped.name.removesuffix("_image.nii.gz"))
            add(f"warped_{case['dataset']}", settings, stem, name, annotated=list(annotated))
    for image in sorted((out / "synthetic").glob("*_image.nii.gz")):
        stem = image.with_name(image.name.removesuffix("_image.nii.gz"))
        group = stem.name.rsplit("_", 1)[0]
        source = next((name for name in ANATOMIES if group.startswith(f"{name}-")), "word")
        if source == "word":
            add("synthetic", {"kind": "full"}, stem, group)
        else:
            add(f"synthetic_{source}", {"kind": "partial", "annotated": list(WORD16.names),
                                        "label_map": ANATOMIES[source]}, stem, group)
    with whole_file(out / "manifest.yaml") as temporary:
        temporary.write_text(yaml.safe_dump({"label_space": WORD16.name, "datasets": list(datasets.values())},
                                            sort_keys=False, allow_unicode=True), encoding="utf-8")


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
    data, out, real = settings.data, settings.out, settings.out / "real"

    cases = labelled_cases(data)
    dicom = {"name": "dicom_ct_20slices", "dataset": "totalseg117", "annotated": list(WORD16.names),
             "label_map": TOTALSEG_MAP}
    for folder in ("real", "anatomy", "warped", "synthetic"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    jobs = [(named(real / case["name"], "image"), make_real,
             (case["image"], case["label"], case["annotated"], case["label_map"], real / case["name"]))
            for case in cases]
    jobs += [(named(real / name, "image"), make_real,
              (data / "ct" / name / "image.nii.gz", None, [], {}, real / name))
             for name in TEACHER_CASES]
    jobs.append((named(real / dicom["name"], "image"), make_real,
                 (data / "dicom" / "ct_20slices", data / "dicom" / "ct_20slices_totalseg117.nii.gz",
                  dicom["annotated"], dicom["label_map"], real / dicom["name"], TOTALSEG_CLASSES)))
    sources = {out / "anatomy" / (label.name if folder == "word" else f"{folder}-{label.name}"): label
               for folder in ANATOMIES for label in sorted((data / "labels_only" / folder).glob("*.nii.gz"))}
    jobs += [(anatomy, make_anatomy, (label, anatomy)) for anatomy, label in sources.items()]
    run(jobs, settings.workers)
    # Organs that another map names otherwise would be deformed onto the wrong place: CTs are warped onto WORD's alone.
    word = [anatomy for anatomy, label in sources.items() if label.parent.name == "word"]

    run([(named(real / name, "label"), make_teacher_labels,
          (data / "ct" / name / "image.nii.gz", data / "teacher" / "hk13.onnx", named(real / name, "image"),
           trusted, named(real / name, "label"))) for name, (trusted, _) in TEACHER_CASES.items()], settings.workers)
    chests = [{"name": name, "dataset": "teacher", "annotated": [*trusted, *absent], "label_map": {}}
              for name, (trusted, absent) in TEACHER_CASES.items()]
    everything = [*cases, *chests, dicom]
    write_manifest(out, everything, settings.strokes)

    for number in range(1, settings.warps + 1):
        jobs = []
        for case in cases:
            anatomy, strength = anatomies_for(case["name"], word, number, settings.seed)[-1]
            target = out / "warped" / f"{case['name']}__{anatomy.name.removesuffix('.nii.gz')}"
            drawn = settings.strokes / f"{case['name']}.json"
            jobs.append((target.with_name(target.name + "_dice.json"), make_warp,
                         (real / case["name"], anatomy, case["annotated"], drawn, strength, target)))
        run(jobs, settings.workers)
        write_manifest(out, everything, settings.strokes)

    jobs = []
    for position, anatomy in enumerate(sources):
        for number in range(settings.synthetic):
            target = out / "synthetic" / f"{anatomy.name.removesuffix('.nii.gz')}_{number}"
            jobs.append((named(target, "image"), make_synthetic, (anatomy, [settings.seed, position, number], target)))
    run(jobs, settings.workers)
    write_manifest(out, everything, settings.strokes)


if __name__ == "__main__":
    main()
