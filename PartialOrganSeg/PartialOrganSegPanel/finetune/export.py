"""Writes the cases of a run: CTs and label maps as files, and the manifest that says what each label map knows."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Generator, Sequence
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from PartialOrganSegLib.atomic import put_in_place
from PartialOrganSegLib.organs import LABEL_SPACES

from ..scene.case_writing import write_scene_case
from ..scene.organ_versions import note_edits
from ..scene.scene_cases import SceneCase, label_space_names
from ..scene.voxel_counts import finished, is_small
from ..scene.written_cts import WrittenCts
from ..shell.job import Progress
from ..shell.steps import counted
from .listed_cases import is_listed, link_listed_case

DATA, STAGING, MANIFEST = "data", ".data.partial", "manifest.yaml"
LONGEST_NAME = 60


def write_cases(cases: Sequence[SceneCase], model: Sequence[str], run: Path,
                written: WrittenCts, lost: dict[str, dict[str, int]] | None = None) -> Generator[Progress, None, Path]:
    """Writes everything into RUN/data, which appears whole or not at all; gives the manifest. A step takes some
    milliseconds.

    `model`: the start model's organs, in the order of its label values. `lost` gets, by the CT's name, the voxels that
    accepted organs lose to others which overlap with them. The scene is left as it is, but for organs that
    were edited unseen (see `note_edits`). Raises OSError, and UserError when a CT or what is known of it was deleted
    meanwhile, or an organ is no longer accepted.
    """
    space = label_space_names(model, cases)
    staging = run / STAGING
    staging.mkdir(parents=True)
    try:
        entries = []
        for number, (case, name) in enumerate(zip(cases, case_names(cases), strict=True), 1):
            path = run / DATA / f"case_{number}.nrrd"
            progress = Progress(_("writing CTs"), number - 1, len(cases), None)
            if is_listed(case.volume_id):
                yield progress
                entry = link_listed_case(case, path.stem, space, staging)
            else:
                of_case: dict[str, int] = {}
                work = write_scene_case(case, path.stem, space, staging,
                                        lambda volume, new, final=path: written.write(volume, new, final), of_case)
                yield from _note_edits(case, progress)
                entry = yield from counted(work, progress)
                if lost is not None and of_case:
                    lost[name] = of_case
            entries.append({"name": name} | entry)
        manifest = {"label_space": _space_entry(space), "datasets": [{"name": "scene", "cases": entries}]}
        text = json.dumps(manifest, indent=2, ensure_ascii=False)  # JSON is YAML, and Slicer has no YAML writer
        (staging / MANIFEST).write_text(text + "\n", encoding="utf-8")
        put_in_place(staging, run / DATA)
    finally:  # also when the work is cancelled between two steps
        shutil.rmtree(staging, ignore_errors=True)
    return manifest_of(run)


def _note_edits(case: SceneCase, progress: Progress) -> Generator[Progress, None, None]:
    """Edits of a case that nobody has seen; of a small one at once."""
    volume, segmentation = map(slicer.mrmlScene.GetNodeByID, (case.volume_id, case.segmentation_id or "none"))
    if volume is None or segmentation is None:
        return
    if is_small(volume.GetImageData()):
        finished(note_edits(segmentation))
    else:
        yield from counted(note_edits(segmentation), progress)


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
