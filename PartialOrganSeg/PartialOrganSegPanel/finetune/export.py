"""Writes the cases of a run: CTs and label maps as files, and the manifest that says what each label map knows."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util
from slicer.i18n import tr as _

from PartialOrganSegLib.atomic import put_in_place
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.organs import BACKGROUND, LABEL_SPACES

from ..scene.ct_file import CtFile, write_ct
from ..scene.ct_tag import refuse_another_ct
from ..scene.organ_rows import row
from ..scene.segment_voxels import segment_array
from ..scene.stroke_labelmap import NOT_DRAWN, scribble_labelmap
from ..scene.strokes import stroke_organs
from ..shell.job import Progress
from .cases import SCRIBBLE, UNLABELLED, SceneCase, label_space_names
from .written_cts import WrittenCts

DATA, STAGING, MANIFEST = "data", ".data.partial", "manifest.yaml"
LONGEST_NAME = 60


def write_cases(cases: Sequence[SceneCase], model: Sequence[str], run: Path,
                written: WrittenCts) -> Generator[Progress, None, Path]:
    """Writes everything into RUN/data, which appears whole or not at all; gives the manifest. A step is a case.

    `model`: the start model's organs, in the order of its label values. The scene is left as it is. Raises OSError, and
    UserError when a CT or what is known of it was deleted meanwhile.
    """
    space = label_space_names(model, cases)
    staging = run / STAGING
    staging.mkdir(parents=True)
    try:
        entries = []
        for number, (case, name) in enumerate(zip(cases, case_names(cases), strict=True), 1):
            yield Progress(_("writing CTs"), len(entries), len(cases), None)
            entries.append({"name": name} | _write_case(case, f"case_{number}", space, run, written))
        manifest = {"label_space": _space_entry(space), "datasets": [{"name": "scene", "cases": entries}]}
        text = json.dumps(manifest, indent=2, ensure_ascii=False)  # JSON is YAML, and Slicer has no YAML writer
        (staging / MANIFEST).write_text(text + "\n", encoding="utf-8")
        put_in_place(staging, run / DATA)
    finally:  # also when the work is cancelled between two steps
        shutil.rmtree(staging, ignore_errors=True)
    return manifest_of(run)


def _space_entry(organs: list[str]) -> str | list[str]:
    """A label space as a manifest has it: the name of a built-in one that has these organs in this order, or them."""
    for space in LABEL_SPACES.values():
        if list(space.names) == organs:
            return space.name
    return organs


def manifest_of(run: Path) -> Path:
    """Where a run's manifest lies."""
    return run / DATA / MANIFEST


def with_names(message: str, run: Path) -> str:
    """A message of the command with the CTs' names in place of the paths of their files. A run that was started
    elsewhere has no manifest of ours: its messages stay as they are."""
    try:
        cases = json.loads(manifest_of(run).read_text(encoding="utf-8"))["datasets"][0]["cases"]
        names = {run / DATA / case["image"]: case["name"] for case in cases}
    except (OSError, ValueError, LookupError, TypeError):
        return message
    # the command may name a file as it was given or with links resolved, and with the case's name before it
    for path, name in names.items():
        for text in (str(path), str(path.resolve())):
            message = message.replace(f"{name}: {text}", name).replace(text, name)
    return message


def case_names(cases: Sequence[SceneCase]) -> list[str]:
    """What the cases are called in the manifest."""
    return file_names([case.name for case in cases])


def file_names(names: Sequence[str]) -> list[str]:
    """Names that can be part of file names on every system and of a list with commas, each once; blanks and all letters
    stay."""
    unique: list[str] = []
    for name in names:
        # a colon, a backslash or a final dot is refused by Windows, and names that differ by case are one name there
        base = re.sub(r'[\x00-\x1f/\\:*?"<>|.,]+', "_", name)[:LONGEST_NAME].strip(" _") or "case"
        number, free = 1, base
        while free.casefold() in map(str.casefold, unique):
            number += 1
            free = f"{base} {number}"
        unique.append(free)
    return unique


def _write_case(case: SceneCase, stem: str, space: Sequence[str], run: Path, written: WrittenCts) -> dict[str, Any]:
    """Writes one case into the staging folder of RUN as `stem`.nrrd; returns its entry in the manifest.

    The CT's name is in no file name: SimpleITK on Windows opens none with letters outside of the system's code page.
    """
    if None in map(slicer.mrmlScene.GetNodeByID, filter(None, (case.volume_id, case.segmentation_id, case.strokes_id))):
        raise UserError(_("{ct}: the CT, its segmentation or its strokes were deleted.").format(ct=case.name))
    volume = slicer.mrmlScene.GetNodeByID(case.volume_id)
    for labels_id in filter(None, (case.segmentation_id, case.strokes_id)):
        refuse_another_ct(slicer.mrmlScene.GetNodeByID(labels_id), volume)
    folder = run / STAGING
    image, label, kind, outside = f"{stem}.nrrd", f"{stem}_labels.nrrd", case.kind(space), 0
    if kind == SCRIBBLE:  # what no stroke covers is unknown, not background
        outside = NOT_DRAWN
    ct = written.write(volume, folder / image, run / DATA / image)
    entry: dict[str, Any] = {"image": image, "kind": kind}
    if kind == UNLABELLED:
        return entry
    labels = np.full(ct.size[::-1], outside, np.uint8)
    node = slicer.util.addVolumeFromArray(labels, ijkToRAS=slicer.util.arrayFromVTKMatrix(ct.ijk_to_ras),
                                          name=label, nodeClassName="vtkMRMLLabelMapVolumeNode")
    try:
        meaning = _label(case, kind, space, node, volume, ct)
        write_ct(node, folder / label)
    finally:
        slicer.mrmlScene.RemoveNode(node)
    return entry | {"label": label} | meaning


def _label(case: SceneCase, kind: str, space: Sequence[str], node: slicer.vtkMRMLLabelMapVolumeNode,
           volume: slicer.vtkMRMLScalarVolumeNode, ct: CtFile) -> dict[str, Any]:
    """Fills the label map `node`; returns what the manifest must say of its values.

    Strokes beside accepted organs: the accepted ones are known everywhere, so a voxel without a label is anything but
    them; a stroke says what a voxel is. Where both speak, the accepted organ counts.
    """
    if ct.follows_volume:
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    labels = slicer.util.arrayFromVolume(node)
    value = {organ: index for index, organ in enumerate(space, 1)}
    if kind == SCRIBBLE:
        _draw(labels, case, node, value | {BACKGROUND: 0})
    for organ in case.accepted:
        segmentation = slicer.mrmlScene.GetNodeByID(case.segmentation_id)
        labels[segment_array(segmentation, row(segmentation, organ).segment_id, node)] = value[organ]
    meaning: dict[str, Any] = {}
    if kind == "partial":
        meaning["annotated"] = list(case.organs)
    if kind == "partial" and case.drawn:
        # 0 is "anything but the accepted organs" here, so strokes of background get a value of their own
        drawn = value | {BACKGROUND: len(space) + 1}
        for organ in case.accepted:
            del drawn[organ]
        strokes = np.full(labels.shape, NOT_DRAWN, np.uint8)
        _draw(strokes, case, node, drawn)
        free = (labels == 0) & (strokes != NOT_DRAWN)
        labels[free] = strokes[free]
        meaning["label_map"] = {0: [BACKGROUND, *(organ for organ in space if organ not in case.accepted)],
                                **{value[organ]: [organ] for organ in case.organs}, len(space) + 1: [BACKGROUND]}
    slicer.util.arrayFromVolumeModified(node)
    return meaning


def _draw(labels: np.ndarray, case: SceneCase, node: slicer.vtkMRMLLabelMapVolumeNode, value: dict[str, int]) -> None:
    """Puts strokes into a label array; those of organs without a `value` are left out."""
    strokes = slicer.mrmlScene.GetNodeByID(case.strokes_id)
    values = np.full(NOT_DRAWN + 1, NOT_DRAWN, np.uint8)
    for at, name in enumerate((BACKGROUND, *stroke_organs(strokes))):
        values[at] = value.get(name, NOT_DRAWN)
    labels[...] = values[scribble_labelmap(strokes, node)]
