"""The training run: stages of steps on patches of cached cases, checkpoints, and a model bundle at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from ..atomic import whole_file
from ..datasets.manifest import load_manifest
from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..loading.targets import Targets
from ..segmenting.backend import choose_device, computes_bfloat16
from .batches import batch_numbers, batches, label_distribution, patches, stage_cases
from .checkpoint import load_checkpoint, random_states, save_checkpoint, set_random_states
from .distributed import Processes, started
from .frozen_members import Division
from .hand_over import HandOver
from .interrupts import stop_asked
from .learner import Learner, NotFiniteError
from .logbook import Logbook
from .memory import fitting_patch, is_out_of_memory
from .objective import Objective, needs_prior
from .preparation import build_start, preprocessing_of, read_cases
from .recipe import MODEL_FOLDER, RECIPE_FILE, Recipe
from .resuming import check_same, deciding_settings
from .settings import ValidationSettings
from .validation import MEAN, Best, Validator

LOG_EVERY = 10


def train(recipe: Recipe, run_folder: Path, resume: bool, device: str = "auto",
          reporter: Reporter | None = None) -> None:
    """Runs a recipe into `run_folder`: recipe.yaml, log.jsonl, events, checkpoints/last.pt (and best.pt with a
    validation), and model/ when it is done.

    SIGINT and SIGTERM finish the step, or break off a measurement after the case it is at, write the checkpoint and
    raise KeyboardInterrupt. `resume` goes on from checkpoints/last.pt to the numbers an uninterrupted run would have
    reached (bit for bit on the CPU).
    Started by `torchrun`, all processes train one network on mini-batches of `batch_size` patches each.
    Raises UserError for bad settings, data or a run folder already used.
    """
    chosen = choose_device(device)
    with started(chosen) as processes:
        if reporter is None or not processes.first:
            reporter = Reporter()
        run = _Run(recipe, run_folder, resume, processes.local_device(chosen), processes, reporter)
        run.train()
        run.write_model()


class _Attentive(Reporter):
    """Passes progress on; raises KeyboardInterrupt once there is a signal in `stopped`."""

    def __init__(self, reporter: Reporter, stopped: list[int]) -> None:
        self._reporter, self._stopped = reporter, stopped

    def progress(self, stage: str, done: int, total: int) -> None:
        self._reporter.progress(stage, done, total)
        if self._stopped and done < total:
            raise KeyboardInterrupt


class _Run:
    """Everything of a run at some step. `stage` is the number of the stage it is in; one too high when it is done."""

    def __init__(self, recipe: Recipe, folder: Path, resume: bool, device: torch.device, processes: Processes,
                 reporter: Reporter) -> None:
        self.recipe, self.folder, self.device = recipe, folder, device
        self.processes, self.reporter = processes, reporter
        self.stages = recipe.resolved_stages()
        self.last, self.best_file = folder / "checkpoints" / "last.pt", folder / "checkpoints" / "best.pt"
        if self.last.exists() and not resume:
            raise UserError(code=Code.FILE_EXISTS, subject=folder, expected="a new run folder", found="checkpoints",
                            hint="add --resume or another -o")
        if (folder / MODEL_FOLDER).exists() and not resume:
            raise UserError(code=Code.FILE_EXISTS, subject=folder, expected="a new run folder",
                            found=f"{MODEL_FOLDER} in it, which the run would replace", hint="choose another -o")
        if resume and not self.last.exists():
            raise UserError(code=Code.NO_CHECKPOINT, subject=self.last, expected="a checkpoint to resume from",
                            found="none")
        if not resume and recipe.half_precision and device.type == "cpu" and not computes_bfloat16():
            reporter.warning(Problem(Code.SETTING_SLOW, "half_precision", hint="half_precision=false is faster here",
                                     found="this CPU computes bfloat16 more slowly than float32"))
        manifest = load_manifest(recipe.manifest, reporter)
        self.space = manifest.label_space
        even = [1.0] * self.space.class_count
        for stage in self.stages:
            # Wrong settings are told before anything is read.
            Objective(stage, self.space, even, teacher=True, soft_sets=[range(self.space.class_count)])
        self.start = build_start(recipe, self.space, device, processes, reporter)
        self.share = self.start.share
        self.cases = read_cases(recipe, manifest, reporter)
        self.table = torch.from_numpy(self.cases.table.table)
        self.learner = Learner(self.start.network, self.start.teacher, self.table.to(device), device,
                               recipe.half_precision, processes)
        self.hand_over = HandOver(recipe, self.start, self.space, self.cases.training, device)
        self.validator = None
        if self.cases.validation:
            self.validator = Validator(self.cases.validation, self.cases.table.table, self.space,
                                       preprocessing_of(recipe), device, processes, self.hand_over.members)
        self.batch = recipe.batch_size * processes.size
        self.settings = {**deciding_settings(recipe), "batch": self.batch, **self.cases.essence()}
        self.step, self.stage, self.stage_start, self.best, self.unmeasured = 0, 0, 0, self._no_best(), False
        self.stopped: list[int] = []  # signals
        if resume:
            self._restore(load_checkpoint(self.last))
        else:
            self._begin(0)
        if processes.first:
            folder.mkdir(parents=True, exist_ok=True)
            with whole_file(folder / RECIPE_FILE) as temporary:
                temporary.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), encoding="utf-8")

    def train(self) -> None:
        """Trains to the last stage's end. Raises KeyboardInterrupt when asked to stop, the checkpoint written."""
        log = Logbook(self.folder, self.step, self.reporter, silent=not self.processes.first)
        try:
            with stop_asked() as self.stopped:
                if self.step == 0 and self.validator is not None and self.start.teacher is not None:
                    self._measure_start(log)
                while self.stage < len(self.stages):
                    self._train_stage(log)
                self._choose_share(log)
                self._give_back(log)
        finally:
            log.close()

    def _measure_start(self, log: Logbook) -> None:
        """Dice before the first step. Broken off, it is made up for on resuming."""
        try:
            self.best.before = self._measure(log, self.hand_over.before)
        except KeyboardInterrupt:
            self._save(self.last)
            raise

    def _train_stage(self, log: Logbook) -> None:
        """Trains to the end of the stage, and begins the next."""
        stage, recipe = self.stages[self.stage], self.recipe
        end = self.stage_start + stage.steps
        if self.unmeasured and self._step_done(log, end):
            return
        total = end + sum(later.steps for later in self.stages[self.stage + 1:])
        sampler = patches(recipe, stage_cases(self.cases.training, stage), stage, self.batch, end * self.batch)
        clock = time.monotonic()
        for targets in batches(sampler, self.step, end, recipe.batch_size, recipe.workers, self.processes):
            waited = time.monotonic() - clock
            figures = self._learn(sampler, targets)
            self.step += 1
            seconds = time.monotonic() - clock
            log.time(seconds, waited)
            if self.step % LOG_EVERY == 0:
                where = {"stage": stage.name} if len(self.stages) > 1 else {}
                log.write({"step": self.step, **where, **figures, "seconds": round(seconds, 3),
                           "waited": round(waited, 3)})
            self.reporter.progress("training", self.step, total)
            if self._step_done(log, end):
                return
            clock = time.monotonic()

    def _step_done(self, log: Logbook, end: int) -> bool:
        """Measures where it is due, begins the next stage where this one is done, and writes the checkpoint where that
        is due. Whether the stage is done. Raises KeyboardInterrupt when asked to stop."""
        try:
            self.unmeasured = False
            done = self._stage_done(log, end)
        except KeyboardInterrupt:  # out of the measurement
            self.unmeasured = True
            self._save(self.last)
            raise
        if done:
            self._begin(self.stage + 1)
        stop = self.processes.any(bool(self.stopped), self.device)
        if stop or self.step % self.recipe.checkpoint_every == 0 or self.stage == len(self.stages):
            self._save(self.last)
        if stop:
            raise KeyboardInterrupt
        return done

    def _learn(self, sampler: Any, targets: Targets) -> dict[str, float]:
        try:
            return self.learner.step(self.step + 1, self.step - self.stage_start, targets)
        except NotFiniteError as error:
            batch = ", ".join(sampler.describe(number) for number in batch_numbers(self.step, self.batch))
            rate = self.stages[self.stage].optimiser.learning_rate
            raise UserError(code=Code.DIVERGED, subject=f"step {self.step + 1}",
                            found=f"{error}; batch: {batch}",
                            hint="last good checkpoint kept, try a lower optimiser.learning_rate than "
                                 f"{rate}") from None
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        fits = fitting_patch(self.learner.network, self.recipe.patch_zyx, self.recipe.batch_size, self.device,
                             self.learner.autocast())
        hint = "no smaller patch fits; expected a smaller network or batch_size"
        if fits:
            hint = f"expected at most {fits}"
        raise UserError(code=Code.NO_MEMORY, subject="patch_zyx", hint=hint,
                        found=f"out of memory with {self.recipe.batch_size} patches of {self.recipe.patch_zyx}")

    def _measure(self, log: Logbook, division: Division | None) -> dict[str, float]:
        """Dice per organ and mean of the weights as they would be written, told and logged."""
        assert self.validator is not None
        figures = self.validator.measure(self.learner.network, self._to_write(self.learner.average.values),
                                         self._attentive(), division)
        log.write({"step": self.step, **{f"dice_{name}": round(value, 4) for name, value in figures.items()}})
        return figures

    def _attentive(self) -> Reporter:
        """For a measurement, which may take minutes and loses nothing: broken off when asked to stop. Of several
        processes none may leave the others waiting."""
        return _Attentive(self.reporter, self.stopped) if self.processes.size == 1 else self.reporter

    def _stage_done(self, log: Logbook, end: int) -> bool:
        """Whether the stage has had its steps, or validation, measured where it is due, no longer gets better."""
        settings = self.recipe.validation or ValidationSettings()
        due = self.step == end or (self.step - self.stage_start) % settings.every == 0
        if self.validator is not None and due:
            if self.best.take(self._measure(log, self.hand_over.division)):
                self._save(self.best_file)
                if self.step < end:  # on a GPU, repeated steps need not come to the same best weights
                    self._save(self.last)
            if settings.patience and self.best.stale >= settings.patience:
                return True
        return self.step == end

    def _choose_share(self, log: Logbook) -> None:
        """Takes the share of the start model with which the best weights measure best, of those to be tried."""
        settings = self.recipe.validation or ValidationSettings()
        if self.share is None or self.validator is None or not self.best.figures or not settings.start_shares:
            return
        average = load_checkpoint(self.best_file)["average"]
        for value in settings.start_shares:
            share = self.share.with_share(value)
            figures = self.validator.measure(self.learner.network, share.mix(average), self._attentive(),
                                             self.hand_over.division)
            log.write({"step": self.step, "start_share": value, "mean_dice": round(figures.get(MEAN, 0.0), 4)})
            if self.best.take(figures):
                self.share = share
            if self.processes.any(bool(self.stopped), self.device):  # training's end is in the checkpoint
                raise KeyboardInterrupt

    def _give_back(self, log: Logbook) -> None:
        """Leaves to the frozen members of a joined model what was measured to be found no better than by them."""
        if self.validator is None or not self.best.figures or not self.hand_over.taken_over:
            return
        validator, weights = self.validator, self._to_write(load_checkpoint(self.best_file)["average"])

        def measure() -> dict[str, float]:
            figures = validator.measure(self.learner.network, weights, self._attentive(), self.hand_over.division)
            log.write({"step": self.step, "not_taken_over": ", ".join(self.hand_over.not_taken_over),
                       "mean_dice": round(figures.get(MEAN, 0.0), 4)})
            return figures

        self.best.figures = self.hand_over.give_back(self.best.before, self.best.figures, measure)

    def _no_best(self, **state: Any) -> Best:
        settings = self.recipe.validation or ValidationSettings()
        return Best(**state, half=tuple(settings.half), tolerated_loss=settings.tolerated_loss,
                    retained=tuple(self.hand_over.taken_over))

    def _begin(self, number: int) -> None:
        """Begins a stage; after the last one there is nothing to begin."""
        self.stage, self.stage_start = number, self.step
        if number == len(self.stages):
            return
        stage = self.stages[number]
        shares = label_distribution(self.recipe, self.cases.training, stage, self.table) if needs_prior(stage) else None
        self.learner.begin(stage, Objective(stage, self.space, shares, self.start.teacher is not None, self.reporter,
                                            self.cases.soft_sets))
        self.best = self._no_best(before=self.best.before)

    def _save(self, path: Path) -> None:
        if self.processes.first:
            save_checkpoint(path, {
                **self.learner.state(), "step": self.step, "stage": self.stage, "stage_start": self.stage_start,
                "validation": self.best.state_dict(), "random": random_states(), "settings": self.settings,
                "unmeasured": self.unmeasured})

    def _restore(self, state: dict[str, Any]) -> None:
        """Goes back to a checkpoint. Raises UserError when what decides the numbers has changed since."""
        check_same(state["settings"], self.settings)
        self._begin(min(state["stage"], len(self.stages) - 1))
        self.step, self.stage, self.stage_start = state["step"], state["stage"], state["stage_start"]
        self.unmeasured = state.get("unmeasured", False)
        self.learner.load(state)
        self.best = self._no_best(**state["validation"])
        set_random_states(state["random"])

    def _to_write(self, average: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """A moving average and the start model's share."""
        return average if self.share is None else self.share.mix(average)

    def write_model(self) -> None:
        """Writes the bundle of the best weights, or of the last where nothing was validated."""
        if not self.processes.first:
            return
        network, metrics = self.start.network, {}
        network.load_state_dict(self._to_write(self.learner.average.values))
        if self.best.figures:
            network.load_state_dict(self._to_write(load_checkpoint(self.best_file)["average"]))
            metrics = {"validation_dice": self.best.figures, "cases": len(self.cases.validation)}
            if self.best.before:
                metrics["validation_dice_before"] = self.best.before
        if self.share is not None:
            metrics["start_share"] = self.share.share
        self.hand_over.write(self.folder / MODEL_FOLDER, self.recipe, self.start, self.space, metrics)
