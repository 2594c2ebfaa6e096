"""A fine-tuning run from start to result; it can be killed at any time and resumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import Code, UserError
from ..events import Reporter
from ..models.bundle import Bundle, load_bundle
from ..models.bundle_writing import write_bundle
from ..models.checksums import MANIFEST, sha256
from ..models.joined import join_bundles
from ..models.store import find_model
from ..real_paths import real_path
from ..resources import resource
from ..scratch import scratch_folder
from ..segmenting.backend import choose_device
from ..training.hooks import Hook
from ..training.recipe import MODEL_FOLDER, RECIPE_FILE, load_recipe
from ..training.run_files import OVERLAPS_FILE, room_on_disk
from ..training.trainer import train
from .cases import files_sha256
from .drift import CaseLook, drifts
from .evidence import gather_evidence, read_overlaps
from .free_cores import FreeCores
from .looking import NEW_KIND, START_KIND, StoredLabels, compare_looks
from .options import FinetuneOptions
from .outcome import TUNED, Findings, Outcome, card, compare
from .plan import PLAN_FILE, Plan, read_plan, write_json
from .preparation import prepare
from .preparation_state import Request
from .relocating import relocate
from .run_folder import LAST, LOOKS_FOLDER, RESULT_FILE, check_new, nothing_half_prepared, working_in
from .time_keeping import TimeKeeper
from .used_time import UsedTime


@dataclass(frozen=True)
class Result:
    """A finished run: its outcome, the new bundle, and the model to go on with (the new one or the start model)."""

    outcome: Outcome
    bundle: Bundle
    selected: Path


def finetune(model: str | Path, data: Path, run: Path, device: str = "auto",
             options: FinetuneOptions | None = None, recipe: Path | None = None,
             reporter: Reporter | None = None) -> Result:
    """Fine-tunes `model` on the cases of the manifest `data` into the folder `run`.

    Leaves RUN/model (the new bundle), RUN/result.json and all that `training.trainer.train` leaves; what is refused
    before the first step leaves nothing. The start model is only read. Raises UserError for cases nothing can be
    learnt from, a folder already used and a full disk; KeyboardInterrupt when asked to stop, the checkpoint written.
    """
    reporter, run = reporter or Reporter(), Path(run)
    start = find_model(model)
    check_new(run, start, Path(data))
    with working_in(run), room_on_disk(run, run / PLAN_FILE):
        # Once more: another process may have begun and ended meanwhile.
        check_new(run, start, Path(data))
        # That of an earlier try; what it planned with is written over from here.
        (run / PLAN_FILE).unlink(missing_ok=True)
        with nothing_half_prepared(run):
            plan = prepare(Request(start, Path(data), run, recipe or resource("recipes", "finetune.yaml"),
                                   choose_device(device), options or FinetuneOptions()), reporter)
        return _train_and_compare(plan, run, device, reporter)


def resume(run: Path, device: str = "auto", reporter: Reporter | None = None) -> Result:
    """Goes on with a run that was stopped or killed, to what it would have come to. Raises as `finetune`.

    Its project may have been renamed, moved or copied meanwhile.
    """
    run = Path(run)
    read_plan(run)  # refused before anything is made there
    with working_in(run), room_on_disk(run, run / PLAN_FILE):
        relocate(run)
        plan = read_plan(run)
        _check_as_it_was(plan)
        return _train_and_compare(plan, run, device, reporter or Reporter())


def _check_as_it_was(plan: Plan) -> None:
    """Raises UserError where an image is gone or changed since the run began."""
    for path, checksum in plan.images.items():
        if not path.exists():
            raise UserError(code=Code.FILE_MISSING, subject=path, expected="this image of the run", found="none")
        if files_sha256([path]) != checksum:
            raise UserError(code=Code.RESUME_DIFFERS, subject=path, expected="the image as it was when the run began",
                            found="another one", hint="start a new run")


def _train_and_compare(plan: Plan, run: Path, device: str, reporter: Reporter) -> Result:
    clock = UsedTime(plan)
    start = load_bundle(plan.start)
    if sha256(start.folder / MANIFEST) != plan.lineage.parent.sha256:
        raise UserError(code=Code.RESUME_DIFFERS, subject=start.folder,
                        expected="the start model as it was when the run began", found="another one")
    reporter.metric(steps=plan.steps, expected_minutes=plan.minutes, changed=", ".join(plan.changed))
    recipe = load_recipe(run / RECIPE_FILE)
    with FreeCores(choose_device(device)).following() as cores:
        hooks: list[Hook] = []
        if plan.time is not None:
            keeper = TimeKeeper(plan.time, cores.use)
            hooks.append(keeper)
            clock.follow(keeper)
        train(recipe, run, (run / LAST).exists(), device, reporter, hooks)
    clock.end_training()
    trained = load_bundle(run / MODEL_FOLDER)
    metrics = trained.metadata.partialorganseg.metrics
    overlaps = read_overlaps(run / OVERLAPS_FILE)
    looks = _looks(plan, start, trained, run, device, reporter, clock.remaining_s)
    findings = Findings(
        metrics.get("validation_dice_before", {}), metrics.get("validation_dice", {}),
        gather_evidence(*overlaps, {str(image): patient for image, patient in plan.patients.items()}),
        drifts(looks, plan.kept), metrics.get("not_taken_over", {}))
    outcome = compare(plan, findings)
    figures = outcome.as_metrics() | {"alpha": metrics.get("alpha", 1.0)}
    if trained.members:
        figures["members"] = {member.bundle.name: list(member.organs) for member in trained.members}
    text = card(trained.name, plan, outcome, trained.members)
    bundle = _rewritten(trained, start, plan, figures, text)
    selected = real_path(bundle.folder) if outcome.selected == TUNED else plan.start
    write_json(run / RESULT_FILE, {
        **figures, "minutes": clock.as_data(), "selected_model": str(selected), "model": str(real_path(bundle.folder)),
        "start": str(plan.start), "lineage": plan.lineage.model_dump(mode="json"), "said": plan.warnings})
    return Result(outcome, bundle, selected)


def _looks(plan: Plan, start: Bundle, trained: Bundle, run: Path, device: str, reporter: Reporter,
           seconds: float) -> list[CaseLook]:
    """What both models find in the CTs that the plan names, as many of them as there are `seconds` for; a resumed run
    reads what it has."""
    space, chosen = trained.label_space, choose_device(device)
    before = StoredLabels(run / LOOKS_FOLDER, start, space, START_KIND, chosen)
    after = StoredLabels(run / LOOKS_FOLDER, trained, space, NEW_KIND, chosen)
    return compare_looks(plan.looked_at, before, after, space, reporter, seconds)


def _rewritten(trained: Bundle, start: Bundle, plan: Plan, figures: Mapping[str, object], text: str) -> Bundle:
    """The trained model in the same folder, with `figures`, where it comes from, what it was trained on and a card."""
    with scratch_folder(trained.folder.parent, ".member-") as scratch:
        learner = trained.learner
        folder = scratch / "learner" if trained.members else trained.folder
        licences = learner.metadata.partialorganseg.licences.model_dump()
        learnt = write_bundle(
            folder, learner.load_network(), learner.network_name, learner.network_arguments, learner.label_space,
            learner.preprocessing, name=learner.name, version=learner.metadata.version, licences=licences,
            training_data=start.learner.metadata.partialorganseg.training_data, metrics=dict(figures),
            description=learner.metadata.description, half=True, lineage=plan.lineage, card=text)
        if not trained.members:
            return learnt
        frozen = trained.members[:-1]
        return join_bundles(
            trained.folder, [*(member.bundle for member in frozen), learnt], trained.name, trained.metadata.version,
            organs=[member.organs for member in trained.members], metrics=dict(figures), card=text,
            label_space=trained.label_space, lineage=plan.lineage)
