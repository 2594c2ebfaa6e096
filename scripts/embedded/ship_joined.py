"""Joins the embedded model of its networks and writes its card from measured figures.

    python scripts/embedded/ship_joined.py hk13-dense= bowel=colon,intestine,rectum,bladder,... \
        --figures figures.json --version 0.5.0 -o PartialOrganSegLib/resources/models/embedded

Each network is a bundle's folder (or an installed name), then `=` and the organs of which it has the say: all that it
knows where nothing follows. The last one goes on learning when a user fine-tunes. `figures.json` is written by
figures.py; without a row for an organ the card says that nothing is known of it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from PartialOrganSegLib.errors import Code, UserError
from PartialOrganSegLib.models.bundle import Bundle, load_bundle
from PartialOrganSegLib.models.joined import join_bundles

CARD = """# The embedded model {version}

Sixteen abdominal organs on CT. **Research only: not a medical device, not fit for diagnosis or treatment.**

## What it is
Several networks, each with the say of its own organs (candidate sets: what one calls background, the next shares out):

{networks}

`hk13` was trained by others for FLARE25 (repository houkainiubi/flare25task2_hk; its licence text is Apache-2.0, terms
of the weights are not stated apart). Its separable convolutions were merged into ordinary ones, which is the same
function; nothing of it was trained further, so it knows what it knew.

## Whose labels the other networks learnt from
- Labels of **other models** (hk13, TotalSegmentator) on real CTs, not of physicians.
- Strokes on colon, intestine, rectum, bladder, femoral heads and background, drawn by eye for this project
  (`Resources/strokes` of the repository). **No physician drew them.**
- CTs synthesised from label maps: 30 of WORD (physicians), 2 of AbdomenAtlas, 4 of TotalSegmentator.

{notes}

## Terms
- Weights: {weights}
- Data: {data}

## Figures
Whose labels, how many CTs, and the worst one. Nothing here says how good the model is on CTs of another kind.

### Against people
{human}

### Against strokes of this project, on CTs that the network in question did not see
The organ against everything else that was drawn: easier than an outline.

{strokes}

### Agreement with another model's labels
How far two models agree, not which one is right. Where the labels are hk13's, that is this model's own first network.

{agreement}

{remarks}
"""


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: an organ a row, with mean and worst Dice and HD95, beside hk13's where it was measured."""
    lines = ["| organ | CTs | Dice | worst | HD95 mm | hk13's own: Dice | HD95 mm |", "|---|---|---|---|---|---|---|"]
    for organ in dict.fromkeys(row["organ"] for row in rows):
        chosen = [row for row in rows if row["organ"] == organ]
        cells = [organ.replace("_", " "), str(len(chosen)), _mean(chosen, "dice", 3),
                 f"{min(row['dice'] for row in chosen):.3f}", _mean(chosen, "hd95_mm", 1),
                 _mean(chosen, "hk13_dice", 3), _mean(chosen, "hk13_hd95_mm", 1)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _mean(rows: list[dict[str, Any]], key: str, digits: int) -> str:
    values = [row[key] for row in rows if row.get(key) is not None]
    if not values:
        return ""
    return f"{np.mean(values):.{digits}f}"


def by_author(rows: list[dict[str, Any]]) -> str:
    """A table for each whose labels."""
    authors = dict.fromkeys(row["whose"] for row in rows)
    return "\n\n".join(f"With labels of {author}:\n\n{table([row for row in rows if row['whose'] == author])}"
                       for author in authors)


def by_reference(rows: list[dict[str, Any]]) -> str:
    """A table for each whose labels and CT."""
    parts = []
    for author, ct in dict.fromkeys((row["whose"], row["ct"]) for row in rows):
        chosen = [row for row in rows if (row["whose"], row["ct"]) == (author, ct)]
        parts.append(f"{ct}, drawn by {author}:\n\n{table(chosen)}")
    return "\n\n".join(parts) or "None."


def network_line(bundle: Bundle, organs: list[str]) -> str:
    """What a network is, and of which organs it has the say."""
    parameters = sum(p.numel() for p in bundle.load_network("cpu").parameters()) / 1e6
    spacing = " x ".join(f"{mm:g}" for mm in bundle.preprocessing.spacing_zyx)
    return (f"- **{bundle.name}** (`{bundle.network_name}`, {parameters:.1f} million parameters, {spacing} mm): "
            f"{', '.join(organ.replace('_', ' ') for organ in organs)}. {bundle.metadata.description}")


def member(text: str) -> tuple[Bundle, list[str]]:
    """Bundle and organs of `MODEL=organ,organ`. Raises UserError for an organ that it does not know."""
    model, separator, names = text.rpartition("=")
    if not separator:
        raise UserError(code=Code.VALUE_UNFIT, subject=text, expected="MODEL=organ,organ or MODEL=", found="no '='")
    bundle = load_bundle(model)
    organs = [bundle.label_space.organ(name).name for name in names.split(",") if name]
    return bundle, organs or list(bundle.label_space.names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", metavar="MODEL=ORGANS")
    parser.add_argument("--figures", type=Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--notes", default="", help="a paragraph for the card, after whose labels")
    parser.add_argument("--remarks", default="", help="a paragraph for the card, after the figures")
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    # The order matters: what one network calls background is shared out by the next.
    members = [member(text) for text in arguments.networks]
    rows = json.loads(arguments.figures.read_text(encoding="utf-8"))
    kinds: dict[str, list[dict[str, Any]]] = {"human": [], "strokes": [], "agreement": []}
    for row in rows:
        kinds[row["kind"]].append(row)
    # Each network keeps its own terms: the joined model is under all of them.
    terms = [bundle.metadata.partialorganseg.licences for bundle, _ in members]
    card = CARD.format(
        version=arguments.version, networks="\n".join(network_line(bundle, organs) for bundle, organs in members),
        weights=" ".join(dict.fromkeys(licences.weights.rstrip(".") + "." for licences in terms)),
        data="; ".join(dict.fromkeys(licences.data for licences in terms)), human=by_reference(kinds["human"]),
        strokes=table(kinds["strokes"]), agreement=by_author(kinds["agreement"]), notes=arguments.notes,
        remarks=arguments.remarks)
    joined = join_bundles(
        arguments.out, [bundle for bundle, _ in members], "embedded", arguments.version,
        organs=[organs for _, organs in members], metrics={"figures": rows}, card=card,
        description="Sixteen abdominal organs on CT: hk13 of FLARE25 for ten, networks learnt beside it for six. "
                    "Research only.")
    size = sum(path.stat().st_size for path in joined.folder.rglob("*") if path.is_file())
    print(f"{joined.folder}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
