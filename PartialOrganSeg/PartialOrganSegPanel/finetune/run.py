"""A fine-tuning run: its folder, the command's arguments, what it came to. No widgets, no nodes."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from PartialOrganSegLib.resources import resource

from ..shell.parameters import FineTuneParameters
from ..shell.problem_text import problem_of, problem_text
from .verdict_text import verdict_text

PLAN, RESULT, LOG, MODEL = "plan.json", "result.json", "log.jsonl", "model"  # in a run's folder
NEW, STARTED, FINISHED = "new", "started", "finished"
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # as the library wants it


@dataclass(frozen=True)
class DiceRow:
    """An organ's Dice of the start model and of the new one; `changed`: the cases show it. `measured_on`: on what, in
    the command's words; `measured_on_kind` the kind of that, empty in results of version 0.3."""

    organ: str
    changed: bool
    before: float
    after: float
    measured_on: str
    measured_on_kind: str = ""


@dataclass(frozen=True)
class RunResult:
    """What a finished run came to. `better`: the new model is the one to go on with; `reason` says why, or why not.
    `start` is the start model's folder and `start_sha256` the checksum of its list of checksums when the run began;
    `learnt` are the organs that the cases show."""

    rows: tuple[DiceRow, ...]
    better: bool
    reason: str
    start: Path
    start_sha256: str
    learnt: tuple[str, ...]

    def why_no_start(self) -> str:
        """Why the start model cannot be compared with; empty when it can."""
        from PartialOrganSegLib.models.checksums import MANIFEST as CHECKSUMS
        from PartialOrganSegLib.models.checksums import sha256

        if not self.start.is_dir():
            return _("The start model of this run is no longer there.")
        try:
            unchanged = sha256(self.start / CHECKSUMS) == self.start_sha256
        except OSError:
            unchanged = False
        if not unchanged:
            return _("The start model of this run was replaced by another one since.")
        return ""


def state(run: Path | None) -> str:
    """`NEW` (nothing to resume), `STARTED` or `FINISHED`."""
    if run is None or not (run / PLAN).is_file():
        return NEW
    # the new model is there before it is compared with the start model, and the result is written last
    if (run / RESULT).is_file() and (run / MODEL).is_dir():
        return FINISHED
    return STARTED


def read_result(run: Path | None) -> RunResult | None:
    """The result of a finished run, None where there is no readable one."""
    if state(run) != FINISHED:
        return None
    try:
        facts = json.loads((run / RESULT).read_text(encoding="utf-8"))
        rows = tuple(_dice_row(organ, measurement) for organ, measurement in facts["dice"].items())
        # version 0.3 wrote a reason, but no verdict as data; a newer library may have kinds that have no text here
        reason = ""
        if "verdict" in facts:
            reason = verdict_text(facts["verdict"])
        return RunResult(rows, facts["selected"] != "start", reason or facts["reason"], Path(facts["start"]),
                         facts["lineage"]["parent"]["sha256"], tuple(facts["lineage"]["learnt"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _dice_row(organ: str, measurement: dict[str, Any]) -> DiceRow:
    """An organ's entry of a result file. Raises KeyError where a figure is missing."""
    return DiceRow(organ, measurement["group"] == "changed", measurement["before"], measurement["after"],
                   measurement["measured_on"], measurement.get("measured_on_kind", ""))


def read_warnings(run: Path) -> list[str]:
    """Warnings about the cases, given before a run began to learn; a run that goes on does not repeat them."""
    try:
        warnings = json.loads((run / PLAN).read_text(encoding="utf-8")).get("said", [])
        return [_warning_text(warning) for warning in warnings]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _warning_text(warning: object) -> str:
    """Of a warning as data, or as the sentence that version 0.3 wrote."""
    if isinstance(warning, dict):
        return problem_text(problem_of(warning))
    return str(warning)


def read_log(run: Path) -> list[dict[str, Any]]:
    """The figures of an interrupted run; a line that was cut off is left out."""
    try:
        lines = (run / LOG).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    figures = []
    for line in lines:
        try:
            figures.append(json.loads(line))
        except ValueError:
            # the computer went off while the line was being written
            continue
    return figures


def default_folder() -> Path:
    """Where runs lie unless the user chooses another place."""
    documents = qt.QStandardPaths.writableLocation(qt.QStandardPaths.DocumentsLocation)
    return Path(documents or Path.home()) / "PartialOrganSeg"


def folder_of_runs(settings: FineTuneParameters) -> Path:
    """The folder that the user chose, else the default one."""
    if settings.folder:
        return Path(settings.folder)
    return default_folder()


def new_run_folder(parent: Path) -> Path:
    """Makes an empty folder for a run. Raises OSError when that fails."""
    parent.mkdir(parents=True, exist_ok=True)
    base = parent / time.strftime("finetune %Y-%m-%d %H.%M")
    number, folder = 1, base
    while True:
        # mkdir instead of a look whether the folder exists: a second Slicer may make it in between
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1
            folder = base.with_name(f"{base.name} {number}")


def forget_unplanned(run: Path) -> None:
    """Removes a run that ended before it began to learn: there is nothing to resume, only copies of CTs."""
    # on Windows a killed process may hold a file open a moment longer
    tries = 5
    while state(run) == NEW and run.exists() and tries:
        shutil.rmtree(run, ignore_errors=True)
        tries -= 1
        if run.exists():
            time.sleep(0.2)


def name_reason(name: str, start: str) -> str:
    """Why a new model cannot be called so, when it starts from the model `start`; empty when it can. No name is one
    that the library makes."""
    if name and not MODEL_NAME.fullmatch(name):
        return _("New model: letters a-z, digits, dot, dash and underscore make a name, at most 64.")
    if name and (resource("models") / name).exists():
        return _("New model: {name} is the name of a shipped model.").format(name=name)
    # a file system that ignores case would replace the start model, too
    if name and name.casefold() == start.casefold():
        return _("New model: {name} is the name of the start model, which would be replaced.").format(name=name)
    return ""


def replay_reason(replay: str) -> str:
    """Why nothing can be replayed so; empty when it can."""
    from PartialOrganSegLib.finetuning import REPLAY_WORDS

    if replay in ("", *REPLAY_WORDS) or Path(replay).is_file():
        return ""
    return _("Replay: expected {words} or a manifest file, found {found}.").format(
        words=", ".join(REPLAY_WORDS), found=replay)


def start_arguments(settings: FineTuneParameters, manifest: Path, run: Path, measured: Sequence[str]) -> list[str]:
    """The command that starts a run. `measured`: names of cases to measure Dice on instead of learning from them."""
    arguments = ["finetune", "--model", settings.model, "--data", str(manifest), "-o", str(run),
                 "--device", settings.device]
    if settings.minutes:
        arguments += ["--minutes", f"{settings.minutes:g}"]
    if settings.name.strip():
        arguments += ["--name", settings.name.strip()]
    if settings.recipe.strip():
        arguments += ["--recipe", settings.recipe.strip()]
    if settings.steps:
        arguments += ["--steps", str(settings.steps)]
    if settings.replay.strip():
        arguments += ["--replay", settings.replay.strip()]
    if not settings.measure:
        arguments += ["--validate", "none"]
    elif measured:
        arguments += ["--validate", ",".join(measured)]
    return arguments


def resume_arguments(run: Path, device: str) -> list[str]:
    """The command that goes on with a run."""
    return ["finetune", "-o", str(run), "--resume", "--device", device]
