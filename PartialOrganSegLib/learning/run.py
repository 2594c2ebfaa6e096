"""A run of `learn` from a folder to one page. Every part that is done stays done, so that a run can be ended at any
moment and gone on with."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..datasets.manifest import check_manifest, load_manifest
from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..finetuning.options import FinetuneOptions
from ..json_file import read_json
from ..models.bundle import load_bundle
from ..models.store import find_model
from ..outputs import missing_folders, remove_empty, writable_folder
from ..real_paths import real_path, relative_path
from ..training.packages import require_packages
from . import Beside
from .organ_list import Ask
from .plan import LABELS, MANIFEST, FolderOptions, Plan, make_plan
from .report import ReportRequest, write_report
from .series import SERIES
from .state import RUN, LearnState, read_state, refuse_other_work, sha256_of
from .survey import STATE_FILE, require_folder

DEFAULT_OUTPUT = "learnt"  # in the user's folder


@dataclass(frozen=True)
class LearnOptions:
    """`model`: the start model. `folder`: how the user's folder is to be understood. `finetuning`: as in `finetune`,
    but for its `beside`, which follows from when it is wanted."""

    model: str = "embedded"
    folder: FolderOptions = field(default_factory=FolderOptions)
    finetuning: FinetuneOptions = field(default_factory=FinetuneOptions)
    beside: Beside = Beside.NEW


@dataclass(frozen=True)
class LearnResult:
    """A finished run. `figures`: as result.json of the fine-tuning has them. `selected`: the model to go on with;
    `model`: the new one. `page`: the HTML page."""

    selected: Path
    model: Path
    page: Path
    manifest: Path
    figures: Mapping[str, Any]


def default_output(folder: Path) -> Path:
    """Where the results of a folder go."""
    return folder / DEFAULT_OUTPUT


def prepare(folder: Path, output: Path, options: LearnOptions, ask: Ask | None = None,
            reporter: Reporter | None = None) -> Plan:
    """Understands the folder and writes OUTPUT/manifest.yaml and OUTPUT/learn.json; nothing is trained.

    Raises UserError for a folder that cannot be understood, and for an `output` with other work in it.
    """
    reporter = reporter or Reporter()
    # First of all: the usual output lies in it, so that a misspelt folder would be made.
    require_folder(folder)
    refuse_other_work(output, output / MANIFEST)
    start = find_model(options.model)
    # Before the folder is looked at, which may take minutes.
    with _nothing_half_planned(output):
        writable_folder(output)
        plan = make_plan(folder, output, start.label_space, options.folder, ask, reporter)
        _state_of(folder, output, options, plan).write(output)
    return plan


@contextlib.contextmanager
def _nothing_half_planned(output: Path) -> Iterator[None]:
    """Where what is inside does not come to its end, what it wrote goes again: without OUTPUT/learn.json, which is
    written last, it would be in the way as files of something else. An earlier plan stays."""
    new_folders = missing_folders(output)
    try:
        yield
    except BaseException:
        if not (output / STATE_FILE).is_file():
            for folder in (LABELS, SERIES):
                shutil.rmtree(output / folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                (output / MANIFEST).unlink()
            remove_empty(new_folders)
        raise


def _state_of(folder: Path, output: Path, options: LearnOptions, plan: Plan) -> LearnState:
    """What a later --resume is to know."""
    # A name is looked up anew when the run goes on; a folder must be found from anywhere.
    model = options.model
    if os.path.exists(model):
        model = str(real_path(model))
    beside = options.beside is Beside.ALWAYS or (options.beside is Beside.NEW and bool(plan.new_organs))
    return LearnState(relative_path(folder, output), model, replace(options.finetuning, beside=beside),
                      sha256_of(plan.manifest), tuple(plan.new_organs),
                      tuple(problem.text() for problem in plan.left_out))


def require_begun(folder: Path, output: Path) -> None:
    """Raises UserError where there is no run in `output` to go on with, or not even the user's `folder`."""
    if output == default_output(folder):
        require_folder(folder)
    read_state(output)


def check(output: Path, reporter: Reporter | None = None) -> list[Problem]:
    """What is wrong with the cases, as `check` says it; empty where nothing is."""
    reporter = reporter or Reporter()
    return check_manifest(load_manifest(output / MANIFEST, reporter), reporter)


def carry_out(output: Path, device: str = "auto", reporter: Reporter | None = None) -> LearnResult:
    """Trains, segments the folder's CTs with both models, measures and writes the page. What was done stays done.

    Raises UserError for cases that nothing can be learnt from, for a manifest that was changed since the training
    began, and for a missing package; KeyboardInterrupt when asked to stop, the checkpoint written.
    """
    reporter = reporter or Reporter()
    state = read_state(output)
    require_packages("learn")
    _train(output, state, device, reporter)
    figures = _result_of(output / RUN)
    manifest = load_manifest(output / MANIFEST)
    new, start = load_bundle(output / RUN / "model"), load_bundle(str(figures["start"]))
    page = write_report(ReportRequest(output, manifest, start, new, figures, state.left_out), device, reporter)
    return LearnResult(Path(str(figures["selected_model"])), new.folder, page, output / MANIFEST, figures)


def _train(output: Path, state: LearnState, device: str, reporter: Reporter) -> None:
    """Fine-tunes, or goes on with it. The packages were looked for before."""
    from ..finetuning.plan import PLAN_FILE
    from ..finetuning.run import finetune, resume
    from ..finetuning.run_folder import LAST, RESULT_FILE

    run, manifest = output / RUN, output / MANIFEST
    sha256 = sha256_of(manifest)
    has_result = (run / RESULT_FILE).is_file()
    has_begun = has_result or ((run / PLAN_FILE).is_file() and (run / LAST).is_file())
    if has_begun and state.trained_sha256 not in ("", sha256):
        raise UserError(code=Code.SETTINGS_CONFLICT, subject=manifest, expected="the manifest that the training began "
                        "with", found="one that was changed since",
                        hint=f"put it back, or remove {run} to train with this one")
    if has_result:
        return
    if has_begun:
        resume(run, device, reporter)
        return
    replace(state, trained_sha256=sha256).write(output)
    finetune(state.model, manifest, run, device, state.finetuning, None, reporter)


def _result_of(run: Path) -> dict[str, Any]:
    """The run's result.json. Raises UserError where it is not one of ours."""
    from ..finetuning.run_folder import RESULT_FILE

    content = read_json(run / RESULT_FILE, "the result of a run")
    if not isinstance(content, dict) or "selected_model" not in content or "start" not in content:
        raise UserError(code=Code.WRONG_FORMAT, subject=run / RESULT_FILE, expected="the result of a run",
                        found="something else")
    return content
