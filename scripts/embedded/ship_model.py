"""Makes the embedded model's bundle from a finished run: weights, figures, data sources, licences and the model card.

    python scripts/embedded/ship_model.py RUN --figures cross_validation.json \\
        --out PartialOrganSegLib/resources/models/embedded
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import yaml

from PartialOrganSegLib.models.bundle import load_bundle, write_bundle

# What is hoped for on CTs the model never saw; an organ below its bar is named in the card.
BARS = {"liver": 0.9, "spleen": 0.9, "left_kidney": 0.9, "right_kidney": 0.9, "stomach": 0.75, "gallbladder": 0.75,
        "bladder": 0.75, "pancreas": 0.5, "duodenum": 0.5, "adrenal": 0.5, "colon": 0.5, "intestine": 0.5}

SOURCES = [
    "crlm_1004, crlm_1006: TCIA Colorectal-Liver-Metastases, CC BY 4.0",
    "cptac_c3l_00189, cptac_c3n_00704: TCIA CPTAC, CC BY",
    "acrin_flt_001_b: TCIA ACRIN-FLT-Breast, CC BY",
    "hcc_006: TCIA HCC-TACE-Seg, CC BY 4.0",
    "tcga_bc_a10w: TCIA TCGA-LIHC, CC BY 3.0",
    "cmb_crc_01068: TCIA CMB-CRC, CC BY 4.0",
    "visible_human_male: courtesy of the U.S. National Library of Medicine",
    "cort_liver: CORT, CC0",
    "totalseg_example, totalseg_aorta_crop, totalseg_pulmonary_crop, DICOM example: TotalSegmentator, Apache-2.0",
    "30 label maps of the WORD test set: GPL-3.0, academic use; synthesised CTs and deformations only",
]

CARD = """# The embedded model

Sixteen abdominal organs on CT, small enough for a laptop. **Research only: not a medical device, not fit for diagnosis
or treatment.**

## What it is
{network}, {parameters:.1f} million parameters, working at {spacing} mm (z, y, x). Trained by
`partialorganseg train embedded` on candidate sets: marginal cross entropy and marginal Dice over
partial, coarse, scribbled and synthesised cases at once.

## Whose labels
- Ten organs of nine CTs: labels of **another model** (hk13, trained by others for FLARE25; its own terms are unclear),
  not of physicians. One CT: labels of TotalSegmentator.
- Colon, intestine, rectum, bladder, femoral heads and background on ten CTs: strokes in `Resources/strokes`, drawn by
  eye for this project. **No physician drew them.**
- CTs synthesised from the 30 label maps of the WORD test set (drawn by physicians), and the real CTs deformed onto
  them.

## Data
{sources}

## Terms of the weights
{terms}

## Figures
{how}

Dice over the voxels that the left-out CT's label decides. The reference is mostly another model's label, so the figure
says how far the two agree, not how right either is.

{label_table}

Dice over drawn stroke voxels, organ against everything else drawn, on left-out CTs (easier than a full outline):

{stroke_table}

Falls short of what was aimed at: {short}.
"""


def summary(cases: dict, kind: str) -> dict[str, dict[str, float]]:
    """Organ -> mean, lowest and number of left-out CTs."""
    names = list(dict.fromkeys(name for figures in cases.values() for name in figures[kind]))
    collected = {name: [figures[kind][name] for figures in cases.values() if name in figures[kind]] for name in names}
    return {name: {"mean_dice": round(float(np.mean(values)), 3), "lowest_dice": min(values), "cases": len(values)}
            for name, values in collected.items()}


def markdown(figures: dict[str, dict[str, float]], bars: dict[str, float]) -> str:
    """A table, an organ a row."""
    lines = ["| organ | mean Dice | lowest | CTs | aimed at |", "|---|---|---|---|---|"]
    for name, row in figures.items():
        aim = f">= {bars[name]:.2f}" if name in bars else ""
        lines.append(f"| {name.replace('_', ' ')} | {row['mean_dice']:.2f} | {row['lowest_dice']:.2f} | {row['cases']} "
                     f"| {aim} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--figures", type=Path, required=True, help="JSON of scripts/cross_validate.py")
    parser.add_argument("--how", required=True, help="how the figures were made, a sentence for the card")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.run / "model")
    recipe = yaml.safe_load((arguments.run / "recipe.yaml").read_text(encoding="utf-8"))
    cases = json.loads(arguments.figures.read_text(encoding="utf-8"))
    network = bundle.load_network("cpu")
    labels, strokes = summary(cases, "label"), summary(cases, "strokes")
    short = [f"{name.replace('_', ' ')} ({labels[name]['mean_dice']:.2f} < {bar:.2f})"
             for name, bar in BARS.items() if name in labels and labels[name]["mean_dice"] < bar]
    unmeasured = [name.replace("_", " ") for name in bundle.label_space.names if name not in labels]
    if unmeasured:
        short.append(f"no left-out CT has a full label of {', '.join(unmeasured)}")
    licences = recipe["bundle"]["licences"]
    spacing = " x ".join(f"{mm:g}" for mm in bundle.preprocessing.spacing_zyx)
    card = CARD.format(
        network=f"`{bundle.network_name}` {bundle.network_arguments}", spacing=spacing, how=arguments.how,
        parameters=sum(p.numel() for p in network.parameters()) / 1e6, sources="\n".join(f"- {s}" for s in SOURCES),
        terms=licences["weights"], label_table=markdown(labels, BARS), stroke_table=markdown(strokes, {}),
        short="; ".join(short) or "nothing")
    written = write_bundle(
        arguments.out, network, bundle.network_name, bundle.network_arguments, bundle.label_space,
        bundle.preprocessing, name=recipe["bundle"]["name"], version=recipe["bundle"]["version"], licences=licences,
        training_data=SOURCES, metrics={"left_out_label": labels, "left_out_strokes": strokes, "how": arguments.how},
        description=recipe["bundle"]["description"], card=card, half=True)
    size = sum(path.stat().st_size for path in written.folder.rglob("*") if path.is_file())
    print(f"{written.folder}: {size / 1e6:.1f} MB\n\n{markdown(labels, BARS)}\n\n{markdown(strokes, {})}")


if __name__ == "__main__":
    main()
