"""What the embedded model's training set is made from: the CTs, whose labels they have, and what these vouch for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import yaml

from PartialOrganSegLib.organ_records import shipped_organs
from PartialOrganSegLib.organs import WORD16

# CTs that end above the pelvis (looked at): these organs are certainly not in them, and nothing else would say so.
NOT_IN_AN_ABDOMEN = [name for name in WORD16.names if "abdomen" not in shipped_organs().records[name].shows_in]
WITHOUT_PELVIS = {"crlm_1004", "crlm_1006", "cptac_c3l_00189", "hcc_006", "hcc_011", "waw2144_eq", "hcc_009"}

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

# TotalSegmentator v2's class numbers as ours. Its colon may be colon or rectum, its femur is the whole bone.
TOTALSEG_CLASSES = {1: 2, 2: 4, 3: 3, 4: 6, 5: 1, 6: 5, 7: 8, 8: 12, 9: 12, 15: 7, 18: 11, 19: 9, 20: 10, 21: 14,
                    75: 15, 76: 16}
TOTALSEG_MAP = {10: ["colon", "rectum"], 15: ["head_of_left_femur", "background"],
                16: ["head_of_right_femur", "background"]}

# Bowel loops of two people do not correspond, and TotalSegmentator's femur is not WORD's femoral head.
NOT_REGISTERED = {"colon", "intestine", "rectum", "head_of_left_femur", "head_of_right_femur"}


@dataclass(frozen=True)
class SourceCase:
    """A CT as it comes.

    `annotated`: organs that the label has and vouches for. `absent`: organs that the field of view does not reach.
    `label_map`: value of our numbering -> the organs that it may be. `convert`: the label's own values -> ours; None
    where they are ours.
    """

    name: str
    dataset: str
    image: Path
    label: Path | None
    annotated: list[str]
    absent: list[str] = field(default_factory=list)
    label_map: dict[int, list[str]] = field(default_factory=dict)
    convert: dict[int, int] | None = None


def labelled_cases(data: Path) -> list[SourceCase]:
    """The labelled CTs of the data's own manifest.

    Organs that a case ignores are not among the annotated ones, so that their values become 0 like all others that it
    does not vouch for.
    """
    manifest = yaml.safe_load((data / "manifest.yaml").read_text(encoding="utf-8"))
    cases = []
    for dataset in manifest["datasets"]:
        for case in dataset["cases"]:
            name, ignored = Path(case["image"]).parent.name, case.get("ignored", dataset.get("ignored", []))
            annotated = [organ for organ in case.get("annotated", dataset["annotated"]) if organ not in ignored]
            absent = NOT_IN_AN_ABDOMEN if name in WITHOUT_PELVIS else []
            cases.append(SourceCase(name, dataset["name"], data / case["image"], data / case["label"], annotated,
                                    absent, dataset.get("label_map", {})))
    return cases


def dicom_case(data: Path) -> SourceCase:
    """The CT of twenty slices with TotalSegmentator's labels."""
    return SourceCase("dicom_ct_20slices", "totalseg117", data / "dicom" / "ct_20slices",
                      data / "dicom" / "ct_20slices_totalseg117.nii.gz", list(WORD16.names), [], TOTALSEG_MAP,
                      TOTALSEG_CLASSES)


def chest_cases(data: Path) -> list[SourceCase]:
    """The CTs without labels, which the teacher labels."""
    cases = []
    for name, (trusted, absent) in TEACHER_CASES.items():
        cases.append(SourceCase(name, "teacher", data / "ct" / name / "image.nii.gz", None, trusted, absent))
    return cases


def anatomy_sources(data: Path, folder: Path) -> dict[Path, Path]:
    """File in `folder` -> label map of ANATOMIES that it is made from; names say whose map it is, WORD's apart."""
    sources = {}
    for source in ANATOMIES:
        for label in sorted((data / "labels_only" / source).glob("*.nii.gz")):
            name = label.name if source == "word" else f"{source}-{label.name}"
            sources[folder / name] = label
    return sources


def anatomy_source(name: str) -> str:
    """Whose map (a key of ANATOMIES) a case called `name` was synthesised from."""
    for source in ANATOMIES:
        if name.startswith(f"{source}-"):
            return source
    return "word"
