"""The training run: stages of steps on patches of cached cases, checkpoints, and a model bundle at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from ..datasets.manifest import load_manifest
from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..loading.sampling import PatchSampler
from ..loading.targets import Targets
from ..segmenting.backend import choose_device, computes_bfloat16
from .batches import batch_numbers, batches, label_distribution, patches, stage_cases
from .cases import read_cases
from .checkpoint import Weights, load_checkpoint
from .distributed import Processes, started
from .evaluator import Evaluator
from .hand_over import HandOver
from .hooks import Hook, StepReport, named_hooks
from .interrupts import stop_asked
from .logbook import Logbook
from .memory import is_out_of_memory, no_memory_error
from .new_class_fitting import NewClassFitting
from .objective import Objective, needs_prior
from .overlaps import Measurement, write_overlaps
from .recipe import Recipe
from .result_model import ResultModel
from .resuming import check_same, deciding_settings
from .run_files import RunFiles, room_on_disk
from .run_state import RunState
from .run_validation import RunValidation
from .stage_checks import check_cases, check_losses, check_network
from .start import build_start, class_layers
from .training_step import NotFiniteError, TrainingStep


def train(recipe: Recipe, run_folder: Path, resume: bool, device: str = "auto",
          reporter: Reporter | None = None, hooks: Sequence[Hook] = ()) -> None:
    """Runs a recipe into `run_folder`: recipe.yaml, log.jsonl, events, checkpoints/last.pt (and best.pt with a
    validation), and model/ when it is done. `hooks` look on beside those of the recipe.

    SIGINT, SIGTERM and SIGHUP finish the step, or break off a measurement after the case it is at, write the checkpoint
    and raise KeyboardInterrupt. `resume` goes on from checkpoints/last.pt to the numbers an uninterrupted run would
    have reached (bit for bit on the CPU).
    Started by `torchrun`, all processes train one network on mini-batches of `batch_size` patches each.
    Raises UserError for bad settings, data or a run folder already used.
    """
    chosen = choose_device(device)
    with started(chosen) as processes, room_on_disk(run_folder, RunFiles(run_folder).last):
        trainer = Trainer(recipe, run_folder, resume=resume, device=processes.local_device(chosen),
                          processes=processes, reporter=reporter, hooks=hooks)
        trainer.train()
        trainer.write_model()


class Trainer:
    """The loop of a run. `train` calls it; with an object of it hooks see all there is:

    `recipe`, `folder`, `stages`, `space` (the label space), `cases`, `network`, `training_step` (one step of learning),
    `evaluator` (validation, None without cases for it), `state` (where the run is), `processes` and `device`.
    """

    def __init__(self, recipe: Recipe, folder: Path, *, resume: bool = False,
                 device: torch.device | str = "cpu", processes: Processes | None = None,
                 reporter: Reporter | None = None, hooks: Sequence[Hook] = ()) -> None:
        """Reads the cases, builds the network and, with `resume`, goes back to the last checkpoint.

        Raises UserError for bad settings, data or a run folder already used.
        """
        self.recipe, self.folder, self.device = recipe, folder, torch.device(device)
        self.processes = processes or Processes()
        # Of several processes the first speaks for all.
        self.reporter = reporter if reporter is not None and self.processes.first else Reporter()
        self.stages, self.files = recipe.resolved_stages(), RunFiles(folder)
        self.files.check(resume)
        if not resume and recipe.half_precision and self.device.type == "cpu" and not computes_bfloat16():
            self.reporter.warning(Problem(Code.SETTING_SLOW, "half_precision",
                                          hint="trained in float32, which is faster here",
                                          found="this CPU has no bfloat16"))
        hooks_by_name = named_hooks(recipe.hooks, hooks)
        self.hooks = list(hooks_by_name.values())
        manifest = load_manifest(recipe.manifest, self.reporter)
        self.space = manifest.label_space
        # Wrong settings are reported before a network is built or a case is read.
        check_losses(self.stages, self.space)
        self.start = build_start(recipe, self.space, self.device, self.processes, self.reporter)
        check_network(recipe, self.stages, self.start.settings, self.space)
        self.cases = read_cases(recipe, manifest, self.reporter)
        self._batch = recipe.batch_size * self.processes.size
        check_cases(recipe, self.stages, self.cases, self.start, self.space, self._batch)
        self._table = torch.from_numpy(self.cases.table.table)
        with_class_rate: list[str] = []
        if any(stage.optimiser.class_rate != 1 for stage in self.stages):
            with_class_rate = class_layers(self.start.settings, self.space)
        self.training_step = TrainingStep(self.start.network, self.start.teacher, self._table.to(self.device),
                                          self.device, recipe.half_precision, self.processes, with_class_rate)
        self._new_classes = NewClassFitting(recipe, self.start, self.space, self.cases.training, self.training_step)
        self._hand_over = HandOver(recipe, self.start, self.space, self.cases.training, self.device)
        self._result = ResultModel(recipe, self.start, self._hand_over, self.space)
        self.evaluator: Evaluator | None = None
        if self.cases.validation:
            scales = recipe.validation.test_scales if recipe.validation is not None else None
            self.evaluator = Evaluator(self.cases.validation, self.cases.table.table, self.space,
                                       recipe.preprocessing.for_bundle(), self.device, self.processes,
                                       self._hand_over.members, scales or (1.0,), self.training_step.autocast)
        self._stop_signals: list[int] = []
        self._validation = RunValidation(recipe, self.evaluator, self.training_step, self._hand_over, self._result,
                                         self.processes, self._stop_signals, self.reporter)
        settings = {**deciding_settings(recipe), "batch": self._batch, **self.start.essence(), **self.cases.essence()}
        self.state = RunState(self.training_step, self._validation.no_best(), settings, hooks_by_name)
        if resume:
            self._restore()
        else:
            self._begin_stage(0)
        if self.processes.first:
            self.files.write_recipe(recipe)

    @property
    def network(self) -> nn.Module:
        """The network that is trained."""
        return self.training_step.network

    @property
    def step(self) -> int:
        """How many steps of the run are done."""
        return self.state.step

    @property
    def stage_count(self) -> int:
        """How many stages the recipe has."""
        return len(self.stages)

    def stop(self) -> None:
        """Ends the run after this step as a signal would: the checkpoint is written, then KeyboardInterrupt raised."""
        self._stop_signals.append(0)

    def train(self) -> None:
        """Trains to the last stage's end. Raises KeyboardInterrupt when asked to stop, the checkpoint written."""
        log = Logbook(self.folder, self.state.step, self.reporter, silent=not self.processes.first)
        self.hooks.insert(0, log)
        try:
            with stop_asked(self._stop_signals):
                for hook in self.hooks:
                    hook.on_start(self)
                if self.state.step == 0 and self.evaluator is not None and self.start.teacher is not None:
                    self._measure_start()
                # After that measurement, which is of the start model.
                if self.state.step == 0:
                    self._new_classes.set_first_weights()
                while self.state.stage < len(self.stages):
                    self._train_stage()
                self._decide_result(log)
        finally:
            self.hooks.remove(log)
            log.close()

    def write_model(self) -> None:
        """Writes the bundle of the best weights, or of the last where nothing was validated."""
        if self.processes.first:
            best = self.state.best
            # Before the model, with which a run counts as done.
            if best.overlaps:
                write_overlaps(self.files.overlaps, best.overlaps_before, best.overlaps)
            self._result.write(self.files.model, self._best_average(), best, len(self.cases.validation))

    def _measure_start(self) -> None:
        """Dice before the first step. Broken off, it is made up for on resuming."""
        try:
            self.state.best.set_before(self._shown(self._validation.measure_start()))
        except KeyboardInterrupt:
            self._save(self.files.last)
            raise

    def _train_stage(self) -> None:
        """Trains to the end of the stage, and begins the next."""
        state, recipe = self.state, self.recipe
        if state.stage_done:
            self._begin_stage(state.stage + 1)
            return
        stage = self.stages[state.stage]
        if state.measurement_due and self._after_step():
            return
        # The last one there may be: a hook can make the stage end earlier.
        last = state.stage_start + stage.steps
        sampler = patches(recipe, stage_cases(self.cases.training, stage), stage, self._batch, last * self._batch)
        clock, processor = time.monotonic(), time.process_time()
        with batches(sampler, state.step, last, recipe.batch_size, recipe.workers, self.processes) as mini_batches:
            for targets in mini_batches:
                waited = time.monotonic() - clock
                figures = self._learn(sampler, targets)
                state.step += 1
                report = StepReport(state.step, stage.name, figures, time.monotonic() - clock, waited,
                                    time.process_time() - processor)
                for hook in self.hooks:
                    hook.on_step(self, report)
                # Of the whole run, whose stages may end early.
                total = self._stage_end + sum(later.steps for later in self.stages[state.stage + 1:])
                self.reporter.progress("training", state.step, total)
                if self._after_step():
                    return
                clock, processor = time.monotonic(), time.process_time()

    def plan_stage(self, steps: int, next_measurement: int) -> None:
        """The stage is to have so many steps, at most the recipe's and at least those that are done; Dice is
        measured after step `next_measurement` of it and after the last."""
        steps = max(self.state.stage_step, min(steps, self.stages[self.state.stage].steps))
        self.state.stage_plan = steps, next_measurement
        self.training_step.schedule.steps = max(1, steps)

    @property
    def _stage_end(self) -> int:
        """The step, of the whole run, after which the stage is done."""
        steps = self.stages[self.state.stage].steps
        if self.state.stage_plan is not None:
            steps, _ = self.state.stage_plan
        return self.state.stage_start + steps

    def _after_step(self) -> bool:
        """Measures where it is due, begins the next stage where this one is done, and writes the checkpoint where that
        is due. Whether the stage is done. Raises KeyboardInterrupt when asked to stop."""
        state = self.state
        try:
            state.measurement_due = False
            stage_done = self._stage_done()
        # Out of the measurement, which may take minutes and is not waited for.
        except KeyboardInterrupt:
            state.measurement_due = True
            self._save(self.files.last)
            raise
        if stage_done:
            if state.stage + 1 < len(self.stages):
                # A new stage may not get what it needs, memory for one: the work until here is not to be lost.
                state.stage_done = True
                self._save(self.files.last)
            self._begin_stage(state.stage + 1)
        stop = self._stop_asked()
        if stop or state.step % self.recipe.checkpoint_every == 0 or state.stage == len(self.stages):
            self._save(self.files.last)
        if stop:
            raise KeyboardInterrupt
        return stage_done

    def _learn(self, sampler: PatchSampler, targets: Targets) -> dict[str, float]:
        """One step, with its errors in the user's terms."""
        state = self.state
        try:
            return self.training_step.step(state.step + 1, state.stage_step, targets)
        except NotFiniteError as error:
            batch = ", ".join(sampler.describe(number) for number in batch_numbers(state.step, self._batch))
            kept = "last good checkpoint kept, " if self.files.last.exists() else ""
            rate = self.stages[state.stage].optimiser.learning_rate
            raise UserError(code=Code.DIVERGED, subject=f"step {state.step + 1}", found=f"{error}; batch: {batch}",
                            hint=f"{kept}try a lower optimiser.learning_rate than {rate}") from None
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside of the handler, whose traceback holds the step's tensors.
        raise no_memory_error(self.network, self.recipe.preprocessing.patch_zyx, self.recipe.batch_size, self.device,
                              self.training_step.autocast)

    def _stage_done(self) -> bool:
        """Whether the stage has had its steps, or validation, measured where it is due, no longer gets better."""
        state, settings, end = self.state, self._validation.settings, self._stage_end
        due = state.stage_step % settings.every == 0
        if state.stage_plan is not None:
            due = state.stage_step == state.stage_plan[1]
        due = due or state.step >= end
        if self.evaluator is not None and due:
            measurement = self._shown(self._validation.measure())
            if state.best.update(measurement.dice, measurement.overlaps):
                self._save(self.files.best)
                # On a GPU, repeated steps need not come to the same best weights.
                if state.step < end:
                    self._save(self.files.last)
            if settings.patience and state.best.stale >= settings.patience:
                return True
        return state.step >= end

    def _shown(self, measurement: Measurement) -> Measurement:
        """The same, once hooks have seen its Dice."""
        for hook in self.hooks:
            hook.on_validation(self, measurement.dice)
        return measurement

    def _decide_result(self, log: Logbook) -> None:
        """What is left open when all stages are done. It is done again where the run is stopped in it and resumed."""
        def write(values: dict[str, object]) -> None:
            log.write({"step": self.state.step, **values})

        def may_go_on() -> bool:
            if self._stop_asked():
                raise KeyboardInterrupt
            refused = not all(hook.allows_trial(self) for hook in self.hooks)
            # All processes measure together, so that one that refuses decides.
            return not self.processes.any(refused, self.device)

        self._result.shifts = self._new_classes.shifts(self.result_weights, self._hand_over.members is not None)
        self._validation.decide_result(self.state.best, self._best_average, write, may_go_on)

    def result_weights(self) -> Mapping[str, torch.Tensor]:
        """Those that would be written at this moment."""
        return self._result.weights(self._best_average())

    def _best_average(self) -> Weights:
        """The moving average of the best weights, or of the last where nothing was validated."""
        if not self.state.best.figures:
            return self.training_step.average.values
        return load_checkpoint(self.files.best)["average"]

    def _begin_stage(self, number: int) -> None:
        """Begins a stage; after the last one there is nothing to begin."""
        self.state.stage, self.state.stage_start = number, self.state.step
        self.state.stage_plan, self.state.stage_done = None, False
        if number == len(self.stages):
            return
        stage = self.stages[number]
        distribution = None
        if needs_prior(stage):
            distribution = label_distribution(self.recipe, self.cases.training, stage, self._batch, self._table)
        self.training_step.begin(stage, Objective(stage, self.space, distribution, self.start.teacher is not None,
                                                  self.reporter, self.cases.soft_sets))
        best = self._validation.no_best(self.state.best.before)
        best.overlaps_before = self.state.best.overlaps_before
        self.state.best = best

    def _restore(self) -> None:
        """Goes back to the last checkpoint. Raises UserError when what decides the numbers has changed since."""
        # The stage is begun first: it makes the optimiser and the losses whose states are loaded.
        checkpoint = load_checkpoint(self.files.last)
        check_same(checkpoint["settings"], self.state.settings)
        self._begin_stage(min(checkpoint["stage"], len(self.stages) - 1))
        self.state.restore(checkpoint)
        if self.state.stage_plan is not None and self.state.stage < len(self.stages):
            self.plan_stage(*self.state.stage_plan)

    def _save(self, path: Path) -> None:
        if self.processes.first:
            self.state.save(path)
            for hook in self.hooks:
                hook.on_checkpoint(self, path)

    def _stop_asked(self) -> bool:
        """Whether any process was asked to stop, by a signal or a hook."""
        return self.processes.any(bool(self._stop_signals), self.device)
