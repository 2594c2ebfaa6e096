"""What the embedded model's card says in figures, each with whose labels they are held against.

    python scripts/embedded/figures.py --data ../shared/data -o figures.json \\
        --held-out hcc_011 tcga_bc_a10w=colon,intestine,bladder waw2144_pv=rectum

Measured on CTs at their own resolution:
- *human*: what people drew, on `manifest_test.yaml` and of the liver on `ct/waw2144_eq`; Dice and HD95;
- *strokes*: this project's strokes on CTs that were not trained on (`--held-out`; of a joined model, by the network
  that has the say of the organs named after `=`): the organ against all else that was drawn. Easier than an outline;
- *agreement*: with another model's labels on the held-out CTs, which says how far the two agree, not who is right; of
  hk13's organs also with TotalSegmentator's on `ct/totalseg_example`, for those of the others are hk13's own.
With `--teacher`, hk13 itself (onnxruntime, half overlap) stands beside, on the same CTs.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from build_embedded_data import STROKES
from ct_grids import at_spacing, body_box

from PartialOrganSegLib.annotation import CandidateTable
from PartialOrganSegLib.atomic import whole_file
from PartialOrganSegLib.datasets.case import Case
from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.evaluation.scoring import NO_REFERENCE, score_structures
from PartialOrganSegLib.evaluation.structures import scored_structures
from PartialOrganSegLib.formats.reading import read_ct
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.models.coarser import coarser
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting.predictor import Predictor

TOLERANCE_MM = 2.0
# The second network of the embedded model learnt its organs from this CT; hk13 learnt nothing from these labels. They
# begin below the esophagus.
BY_A_THIRD_MODEL = "totalseg_example"
OF_HK13 = ("liver", "spleen", "left_kidney", "right_kidney", "stomach", "gallbladder", "pancreas", "duodenum",
           "adrenal")


@dataclass(frozen=True)
class Reference:
    """What a CT is held against: `kind` human, strokes or agreement, and `author`, whose labels these are.

    `organs`: the only ones that are measured; none for all that the reference speaks of.
    """

    kind: str
    author: str
    case: Case
    organs: tuple[str, ...] = ()


def references(data: Path, held_out: list[str]) -> list[Reference]:
    """Every reference, CT by CT."""
    listed = [Reference("human", "clinicians (CORT)", replace(case, group=case.image.parent.name))
              for case in load_manifest(data / "manifest_test.yaml").cases]
    cases = {case.image.parent.name: case for case in load_manifest(data / "manifest.yaml").cases}
    liver = cases["waw2144_eq"]
    listed.append(Reference("human", "radiologists (WAW-TACE)", replace(
        liver, group="waw2144_eq", label=liver.image.parent / "human.nii.gz", annotated=("liver",), label_map=())))
    listed.append(Reference("agreement", "TotalSegmentator", replace(cases[BY_A_THIRD_MODEL], group=BY_A_THIRD_MODEL),
                            OF_HK13))
    for text in held_out:
        name, _, words = text.partition("=")
        organs = tuple(organ for organ in words.split(",") if organ)
        if not organs:  # the whole network left the CT out, so all its labels can be held against another model's
            listed.append(Reference("agreement", "hk13", replace(cases[name], group=name)))
        drawn = STROKES / f"{name}.json"
        if drawn.is_file():
            case = replace(cases[name], group=name, label=None, strokes=drawn)
            listed.append(Reference("strokes", "this project, no physician", case, organs))
    return listed


def scores(reference: Reference, predicted: np.ndarray, ct: Volume) -> list[dict[str, Any]]:
    """Dice and HD95 (mm) of each organ that the reference speaks of."""
    table = CandidateTable(WORD16.class_count)
    # As training reads them: what a reference leaves open is held against nobody.
    codes = reference.case.read_codes(ct, WORD16, table)
    structures = scored_structures(reference.case, codes, table.table, WORD16)
    rows = score_structures(reference.case.group, predicted, codes, table.table, structures, ct.grid.spacing[::-1],
                            TOLERANCE_MM, strokes=reference.kind == "strokes")
    figures = []
    for row in rows:
        invented = reference.kind == "strokes" and row.found == NO_REFERENCE
        if row.dice is None or invented or row.structure not in (reference.organs or (row.structure,)):
            continue
        hd95 = row.hd95_mm
        if hd95 is not None:
            hd95 = round(hd95, 2)
        figures.append({"kind": reference.kind, "whose": reference.author, "ct": reference.case.group,
                        "organ": row.structure, "dice": round(row.dice, 4), "hd95_mm": hd95})
    return figures


def teachers_labels(model: Path, ct: Volume) -> np.ndarray:
    """(z, y, x) uint8 on the CT's grid, by hk13 in its own way: half overlap, Gaussian weights, nearest neighbour."""
    import teacher

    coarse = at_spacing(ct, teacher.SPACING_ZYX)
    box = body_box(coarse)
    labels = np.zeros(coarse.array.shape, np.uint8)
    labels[box] = teacher.segment(model, coarse.array[box])
    order = ct.grid.axis_order()
    native = order.to_canonical(np.zeros(ct.grid.shape, np.uint8))
    # The coarse voxel that the middle of each native one lies in, axis by axis.
    index: list[np.ndarray] = []
    for voxels, coarse_voxels in zip(native.shape, labels.shape, strict=True):
        middle = (np.arange(voxels) + 0.5) * coarse_voxels / voxels
        index.append(np.minimum(middle.astype(int), coarse_voxels - 1))
    return order.from_canonical(labels[np.ix_(*index)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.yaml and manifest_test.yaml")
    parser.add_argument("--model", default="embedded", help="an installed model's name or a bundle's folder")
    parser.add_argument("--fast", action="store_true", help="as `segment --fast` sees the CTs")
    parser.add_argument("--held-out", nargs="*", default=[], metavar="CT[=ORGAN,ORGAN]",
                        help="CTs that training left out, with the organs that this is true of (default: all)")
    parser.add_argument("--teacher", type=Path, help="hk13.onnx, to measure it beside (needs onnxruntime)")
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.model)
    if arguments.fast:
        bundle = coarser(bundle)
    predictor = Predictor(bundle, "cpu")
    rows: list[dict[str, Any]] = []
    # Several references may be of one CT, which is segmented once.
    labels: dict[str, tuple[Volume, np.ndarray, np.ndarray | None]] = {}
    for reference in references(arguments.data, arguments.held_out):
        name = reference.case.group
        if name not in labels:
            ct = read_ct(reference.case.image)
            beside = None
            if arguments.teacher is not None:
                beside = teachers_labels(arguments.teacher, ct)
            labels[name] = ct, predictor.predict(ct).labels.array, beside
        ct, predicted, beside = labels[name]
        measured = scores(reference, predicted, ct)
        theirs: dict[str, dict[str, Any]] = {}
        if beside is not None:
            theirs = {row["organ"]: row for row in scores(reference, beside, ct)}
        for row in measured:
            if row["organ"] in theirs and row["organ"] in load_organs(arguments.teacher):
                row["hk13_dice"], row["hk13_hd95_mm"] = (theirs[row["organ"]][key] for key in ("dice", "hd95_mm"))
            rows.append(row)
            print(json.dumps(row), flush=True)
    with whole_file(arguments.out) as temporary:
        temporary.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def load_organs(model: Path | None) -> set[str]:
    """The organs that hk13 knows; none without it."""
    import teacher

    if model is None:
        return set()
    return set(teacher.CLASSES.values())


if __name__ == "__main__":
    main()
