"""The manifest over everything that lies in the training set's folder, whatever is still missing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import yaml
from case_files import STROKE_MAP, image_file, label_file
from source_cases import ANATOMIES, SourceCase, anatomy_source

from PartialOrganSegLib.atomic import whole_file
from PartialOrganSegLib.organs import WORD16

# How often patches come from each dataset. Labels on real CTs lead. The one whole-body case of totalseg_example, the
# thick slices of totalseg117 and the chests of teacher are single cases that must not dominate; warped CTs repeat their
# source's labels, and synthetic ones are the only full labels but not real images.
WEIGHTS = {"hk13": 1.5, "warped_hk13": 1.2, "totalseg_example": 0.5, "warped_totalseg_example": 0.4, "teacher": 0.1,
           "totalseg117": 0.15, "synthetic": 0.9, "synthetic_abdomenatlas": 0.06, "synthetic_totalseg": 0.12}


class _Entries:
    """The manifest's datasets as they fill; cases whose files are not there are left out."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.datasets: dict[str, dict[str, object]] = {}
        self._cases: dict[str, list[dict[str, object]]] = {}

    def add(self, dataset: str, settings: dict[str, object], stem: Path, group: str, **facts: object) -> None:
        image, label = image_file(stem), label_file(stem)
        if not image.exists() or not label.exists():
            return
        if dataset not in self.datasets:
            self._cases[dataset] = []
            self.datasets[dataset] = {"name": dataset, "weight": WEIGHTS[dataset], **deepcopy(settings),
                                      "cases": self._cases[dataset]}
        self._cases[dataset].append({"image": str(image.relative_to(self.out)),
                                     "label": str(label.relative_to(self.out)), "group": group, **facts})


def write_manifest(out: Path, cases: Sequence[SourceCase], strokes: Path) -> None:
    """`manifest.yaml` over everything that exists in `out`."""
    entries = _Entries(out)
    # Real cases first: where a script takes the first so many, these are the ones that matter.
    for case in cases:
        _add_real_and_warped(entries, case, strokes / f"{case.name}.json")
    for image in sorted((out / "synthetic").glob("*_image.nii.gz")):
        stem = image.with_name(image.name.removesuffix("_image.nii.gz"))
        group = stem.name.rsplit("_", 1)[0]
        source = anatomy_source(group)
        if source == "word":
            entries.add("synthetic", {"kind": "full"}, stem, group)
        else:
            entries.add(f"synthetic_{source}", {"kind": "partial", "annotated": list(WORD16.names),
                                                "label_map": ANATOMIES[source]}, stem, group)
    content = {"label_space": WORD16.name, "datasets": list(entries.datasets.values())}
    with whole_file(out / "manifest.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _add_real_and_warped(entries: _Entries, case: SourceCase, drawn: Path) -> None:
    out, annotated = entries.out, [*case.annotated, *case.absent]
    label_map = dict(case.label_map)
    facts: dict[str, object] = {}
    if drawn.exists():
        facts["strokes"] = relative(drawn, out)
    entries.add(case.dataset, _partial(label_map), out / "real" / case.name, case.name, annotated=annotated, **facts)
    if drawn.exists():  # in a warped label the strokes are values of their own
        label_map |= STROKE_MAP
    for image in sorted((out / "warped").glob(f"{case.name}__*_image.nii.gz")):
        stem = image.with_name(image.name.removesuffix("_image.nii.gz"))
        entries.add(f"warped_{case.dataset}", _partial(label_map), stem, case.name, annotated=list(annotated))


def _partial(label_map: dict[int, list[str]]) -> dict[str, object]:
    if label_map:
        return {"kind": "partial", "label_map": label_map}
    return {"kind": "partial"}


def relative(path: Path, folder: Path) -> str:
    """`path` as seen from `folder`, absolute where that cannot be (another drive)."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:
        return path.resolve().as_posix()
