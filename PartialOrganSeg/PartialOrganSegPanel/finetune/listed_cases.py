"""Cases of the work list that are not in the scene: what was accepted and drawn there is learnt from as well."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.organs import BACKGROUND

from ..scene.ct_identity import CtIdentity, ct_identity
from ..scene.scene_cases import PARTIAL, UNLABELLED, SceneCase
from ..shell.work_list import chosen_list

PREFIX = "listed:"  # before the source of a case, in the place of a node's ID


def listed_cases(scene_cases: Sequence[SceneCase]) -> list[SceneCase]:
    """Those with labels that were not rejected and whose CT is not among the scene's."""
    work_list, identities = chosen_list(), []
    cases: list[SceneCase] = []
    listed = [case for case in work_list.cases() if case.identity and not case.rejected]
    if not listed:
        return cases
    for case in scene_cases:
        identities.append(ct_identity(slicer.mrmlScene.GetNodeByID(case.volume_id)))
    for case in listed:
        identity, entry = CtIdentity.parsed(case.identity), work_list.entry_of(case)
        if identity is None or entry is None or _is_among(identity, identities):
            continue
        identities.append(identity)  # a CT that is listed twice is learnt from once
        cases.append(SceneCase(PREFIX + case.source, case.name, "", tuple(entry["accepted"]), "",
                               tuple(entry["drawn"]), case.included, case.measured, _("the work list")))
    return cases


def _is_among(identity: CtIdentity, identities: Collection[CtIdentity]) -> bool:
    return any(identity.same_as(known) for known in identities)


def change_listed(volume_id: str, **changes: Any) -> None:
    """Changes what the list says of a case by its ID here. Raises OSError and UserError."""
    chosen_list().change(volume_id.removeprefix(PREFIX), **changes)


def link_listed_case(case: SceneCase, stem: str, space: Sequence[str], folder: Path) -> dict[str, Any]:
    """Links, or copies, the saved files of a case into a folder; gives its entry in a manifest of these organs. Raises
    OSError, and UserError where the list has the case no more."""
    work_list = chosen_list()
    source = case.volume_id.removeprefix(PREFIX)
    listed = next((entry for entry in work_list.cases() if entry.source == source), None)
    entry = None
    if listed is not None:
        entry = work_list.entry_of(listed)
    if listed is None or entry is None:
        raise UserError(_("{ct}: the case was removed from the work list.").format(ct=case.name))
    kind = case.kind(space)
    files = {"image": f"{stem}.nrrd"}
    if kind != UNLABELLED:
        files["label"] = f"{stem}_labels.nrrd"
    for name, file in files.items():
        _link(work_list.folder_of(listed) / entry[name], folder / file)
    return {"kind": kind, **files, **_meaning(case, kind, entry["space"], space)}


def _meaning(case: SceneCase, kind: str, written: Sequence[str], space: Sequence[str]) -> dict[str, Any]:
    """What the label values, those of the organs `written`, mean among the organs of `space`."""
    values = {organ: value for value, organ in enumerate(written, 1)}
    meaning: dict[str, Any] = {}
    label_map = {values[organ]: [organ] for organ in case.organs}
    if kind == PARTIAL:
        meaning["annotated"] = list(case.organs)
        if case.drawn:
            label_map[0] = [BACKGROUND, *(organ for organ in space if organ not in case.accepted)]
            label_map[len(written) + 1] = [BACKGROUND]
    if list(written) != list(space) or 0 in label_map:
        meaning["label_map"] = label_map
    return meaning


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


def is_listed(volume_id: str) -> bool:
    """Whether a case's ID is of the work list and not of a node of the scene."""
    return volume_id.startswith(PREFIX)
