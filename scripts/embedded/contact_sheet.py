"""One picture of a model's results on many CTs, a row a CT, to page through before a model is shipped.

    python scripts/embedded/contact_sheet.py ../shared/data/ct/*/image.nii.gz --model embedded -o sheet

writes sheet/NAME.labels.nii.gz (kept for a second look) and sheet/page_1.png, page_2.png, ... with four CTs each.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw

from PartialOrganSegLib.formats.preview import write_preview
from PartialOrganSegLib.formats.reading import read_ct
from PartialOrganSegLib.formats.writing import write_labelmap
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.segmenting.predictor import Predictor

CTS_A_PAGE, WIDTH = 4, 1100


def sheet_row(picture: Path, name: str) -> Image.Image:
    """A preview at the sheet's width with the CT's name above."""
    with Image.open(picture) as preview:
        shown = preview.convert("RGB").resize((WIDTH, round(preview.height * WIDTH / preview.width)))
    row = Image.new("RGB", (WIDTH, shown.height + 20), "black")
    row.paste(shown, (0, 20))
    ImageDraw.Draw(row).text((6, 4), name, fill="white")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cts", type=Path, nargs="+")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    bundle = load_bundle(arguments.model)
    predictor = Predictor(bundle, "cpu")
    rows = []
    for ct_file in arguments.cts:
        # Where all CTs are called image.nii.gz, their folders tell them apart.
        name = ct_file.name.partition(".")[0]
        if name == "image":
            name = ct_file.parent.name
        ct = read_ct(ct_file)
        labels = predictor.predict(ct).labels
        write_labelmap(arguments.out / f"{name}.labels.nii.gz", labels)
        picture = arguments.out / f"{name}.png"
        write_preview(picture, ct, labels, bundle.label_space)
        rows.append(sheet_row(picture, name))
        print(name, flush=True)
    # Few CTs a page: outlines must be large enough to judge.
    for page, first in enumerate(range(0, len(rows), CTS_A_PAGE), 1):
        shown = rows[first:first + CTS_A_PAGE]
        sheet = Image.new("RGB", (WIDTH, sum(row.height for row in shown)))
        top = 0
        for row in shown:
            sheet.paste(row, (0, top))
            top += row.height
        sheet.save(arguments.out / f"page_{page}.png")


if __name__ == "__main__":
    main()
