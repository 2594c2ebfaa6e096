"""Draws docs/figures/candidate-sets.png: one slice of a phantom under five annotations, as the library reads them.

    python scripts/draw_candidate_sets.py

Colours: the organ is known. Light grey: known to be the background. Stripes: a choice is left, dark where everything
may be, light where some organs are excluded or a few are left.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml
from PIL import Image, ImageDraw, ImageFont

from PartialOrganSegLib.annotation import CandidateTable
from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.formats.writing import write_ct, write_labelmap
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.synthesis.phantom import make_phantom
from PartialOrganSegLib.synthesis.simulated_scribbles import simulate_scribble

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "figures" / "candidate-sets.png"
SHAPE, SPACING = (20, 90, 130), (5.0, 3.0, 3.0)
CENTRE = (70.0, 0.0, 0.0)  # a level that shows liver, spleen, stomach and bowel
SCALE = 2  # pixels a voxel
BACKGROUND, EXCLUDED, ANYTHING = (205, 205, 205), (120, 120, 120), (60, 60, 60)
DATASETS = {
    "full label": {"kind": "full", "label": "label.nii.gz"},
    "partial: liver": {"kind": "partial", "annotated": ["liver"], "label": "label.nii.gz"},
    "coarse: colon or small bowel": {"kind": "partial", "annotated": ["colon", "intestine"], "label": "label.nii.gz",
                      "label_map": {10: ["colon", "intestine"], 11: ["colon", "intestine"]}},
    "scribbles": {"kind": "scribble", "label": "scribble.nii.gz"},
    "no label": {"kind": "unlabelled"},
}


def draw() -> Image.Image:
    """The picture: the CT and the five annotations side by side."""
    ct, labels = make_phantom(SHAPE, SPACING, centre_zyx=CENTRE)
    scribble = simulate_scribble(labels, WORD16, every_mm=SPACING[0], brush_mm=6.0)
    middle = SHAPE[0] // 2
    panels = [("the CT", soft_tissue(ct.array[middle].astype(np.float32)))]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_ct(folder / "ct.nii.gz", ct)
        write_labelmap(folder / "label.nii.gz", labels)
        write_labelmap(folder / "scribble.nii.gz", scribble.labels)
        entries = [_dataset(title, content) for title, content in DATASETS.items()]
        (folder / "manifest.yaml").write_text(yaml.safe_dump({"datasets": entries}), encoding="utf-8")
        for case in load_manifest(folder / "manifest.yaml").cases:
            table = CandidateTable(WORD16.class_count)
            codes = case.read_codes(ct, WORD16, table)
            panels.append((case.name, _coloured(codes[middle], table.table)))
    return side_by_side(panels)


def soft_tissue(hounsfield: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """(rows, columns, 3): a slice in the window of soft tissue, -160 to 240 HU."""
    grey = np.clip((hounsfield + 160) / 400 * 255, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _dataset(title: str, content: dict[str, object]) -> dict[str, object]:
    # A case's name becomes that of files, where some systems allow no colon.
    case: dict[str, object] = {"image": "ct.nii.gz", "name": title.replace(":", " -")}
    settings = dict(content)
    if "label" in settings:
        case["label"] = settings.pop("label")
    return {"name": title, "cases": [case], **settings}


def _coloured(codes: npt.NDArray[np.uint8], sets: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """(rows, columns, 3): each voxel in the colour of its candidate set."""
    rows, columns = np.indices(codes.shape)
    stripe = (rows + columns) // 3 % 2 == 1
    picture = np.empty((*codes.shape, 3), np.uint8)
    for code in np.unique(codes):
        of_code = codes == code
        classes = np.flatnonzero(sets[code])
        if len(classes) == 1:
            picture[of_code] = _colour(int(classes[0]))
            continue
        base = ANYTHING if len(classes) == WORD16.class_count else EXCLUDED
        picture[of_code] = base
        if len(classes) < 4:  # few are left: in their colours
            picture[of_code & stripe] = _colour(int(classes[-1]))
            picture[of_code & ~stripe] = _colour(int(classes[0]))
        else:
            picture[of_code & stripe] = tuple(level + 30 for level in base)
    return picture


def _colour(value: int) -> tuple[int, int, int]:
    if value == 0:
        return BACKGROUND
    return WORD16.organs[value - 1].colour


def side_by_side(panels: list[tuple[str, npt.NDArray[np.uint8]]]) -> Image.Image:
    """Titled slices, three in a row."""
    height, width = SHAPE[1] * SCALE, SHAPE[2] * SCALE
    font = ImageFont.load_default(size=18)
    picture = Image.new("RGB", (3 * width + 20, 2 * (height + 34)), (255, 255, 255))
    pen = ImageDraw.Draw(picture)
    for number, (title, panel) in enumerate(panels):
        left, top = number % 3 * (width + 10), number // 3 * (height + 34)
        pen.text((left, top + 5), title.replace(" -", ":"), (20, 20, 20), font)
        picture.paste(Image.fromarray(panel).resize((width, height), Image.Resampling.NEAREST), (left, top + 30))
    return picture


if __name__ == "__main__":
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    draw().save(PICTURE)
