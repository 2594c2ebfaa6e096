"""The training loop: patches of cached cases, losses on candidate sets, checkpoints, and a model bundle at the end."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import yaml
from torch import nn
from torch.utils.data import DataLoader, Subset

from ..annotation import CandidateTable
from ..atomic import whole_file
from ..cancelling import SIGNALS
from ..data.augmentation import Augmentation
from ..data.cache import CachedCase, cache_cases
from ..data.manifest import load_manifest
from ..data.sampling import PatchSampler
from ..errors import UserError
from ..events import Reporter
from ..losses import Supervision, WeightedLosses
from ..models.bundle import Preprocessing, load_bundle, write_bundle
from ..networks import build_network
from ..organs import LabelSpace
from .checkpoint import load_checkpoint, save_checkpoint
from .recipe import OptimiserSettings, Recipe

LOG_EVERY = 10


def train(recipe: Recipe, run_folder: Path, resume: bool, device: str = "auto",
          reporter: Reporter | None = None) -> None:
    """Runs a recipe into `run_folder`: recipe.yaml, log.jsonl, checkpoints/last.pt, and model/ when it is done.

    SIGINT and SIGTERM finish the step, write the checkpoint and raise KeyboardInterrupt. `resume` goes on from
    checkpoints/last.pt to the numbers an uninterrupted run would have reached (bit for bit on the CPU).
    Raises UserError for bad settings, data or a run folder already used.
    """
    reporter = reporter or Reporter()
    checkpoint = run_folder / "checkpoints" / "last.pt"
    if checkpoint.exists() and not resume:
        raise UserError(f"{run_folder}: expected a new run folder, found checkpoints; add --resume or another -o")
    if resume and not checkpoint.exists():
        raise UserError(f"{checkpoint}: expected a checkpoint to resume from, found none")
    manifest = load_manifest(recipe.manifest)
    label_space = manifest.label_space
    unknown = set(recipe.hold_out) - {case.group for case in manifest.cases}
    if unknown:
        raise UserError(f"hold_out: no case of group {sorted(unknown)[0]} in {manifest.path}")
    table = CandidateTable(label_space.class_count)
    cases = cache_cases(manifest.without(recipe.hold_out), label_space, table, recipe.spacing_zyx,
                        recipe.manifest.parent / "cache", reporter, recipe.air_is_background)
    if not any(cached.case.weight > 0 for cached in cases):
        raise UserError(f"{manifest.path}: no case left to train on")
    _tell_classes_without_voxels(cases, label_space, reporter)
    run = _Run(recipe, cases, label_space, torch.from_numpy(table.table), _device(device))
    if resume:
        run.restore(load_checkpoint(checkpoint))
        _forget_later_lines(run_folder / "log.jsonl", run.step)
    run_folder.mkdir(parents=True, exist_ok=True)
    with whole_file(run_folder / "recipe.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    with _stop_asked() as stopped:
        for values in run.steps():
            if run.step % LOG_EVERY == 0:
                reporter.metric(**values)
                with open(run_folder / "log.jsonl", "a", encoding="utf-8") as log:
                    log.write(json.dumps(values) + "\n")
            reporter.progress("training", run.step, recipe.steps)
            if stopped or run.step % recipe.checkpoint_every == 0 or run.step == recipe.steps:
                run.save(checkpoint)
            if stopped:
                raise KeyboardInterrupt
    write_bundle(
        run_folder / "model", run.averaged_network(), recipe.network.name, recipe.network.arguments, label_space,
        Preprocessing(recipe.spacing_zyx, recipe.clip_hu, recipe.subtract, recipe.divide, recipe.patch_zyx),
        name=recipe.bundle.name, version=recipe.bundle.version, licences=recipe.bundle.licences, metrics={},
        training_data=recipe.bundle.training_data, description=recipe.bundle.description, half=True)


class _Run:
    """Network, optimiser and data of a run at some step."""

    def __init__(self, recipe: Recipe, cases: list[CachedCase], label_space: LabelSpace, table: torch.Tensor,
                 device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.device, self.table, self.step = recipe, device, table.to(device), 0
        network = build_network(recipe.network.name, 1, label_space.class_count, **recipe.network.arguments)
        if recipe.start_from is not None:
            start = load_bundle(recipe.start_from)
            try:
                network.load_state_dict(start.load_network("cpu").state_dict())
            except RuntimeError:
                raise UserError(f"start_from: expected a model of network {recipe.network.name} "
                                f"{recipe.network.arguments}, found {start.network_name}") from None
        self.network = network.to(device, memory_format=torch.channels_last_3d).train()
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.losses = WeightedLosses(recipe.losses, recipe.loss_arguments)
        settings = recipe.optimiser
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=settings.learning_rate,
                                           weight_decay=settings.weight_decay)
        changes = recipe.augmentation
        augmentation = Augmentation(
            recipe.patch_zyx, recipe.spacing_zyx, recipe.clip_hu, recipe.subtract, recipe.divide,
            rotation=changes.rotation, scale=changes.scale, deformation=changes.deformation,
            hu_scale=changes.hu_scale, hu_shift=changes.hu_shift, strength=changes.strength)
        if any(size % multiple for size, multiple in zip(recipe.patch_zyx, network.size_multiple, strict=True)):
            raise UserError(f"patch_zyx: expected multiples of {network.size_multiple}, found {recipe.patch_zyx}")
        self.random_state: torch.Tensor | None = None
        self.essence = {**_essence(recipe), "cases": [cached.image_file.name for cached in cases],
                        "candidate_sets": table.int().tolist()}
        self.sampler = PatchSampler(cases, augmentation, recipe.seed, recipe.steps * recipe.batch_size)

    def steps(self) -> Iterator[dict[str, float]]:
        """Trains on from the current step; yields each step's figures."""
        recipe = self.recipe
        first = self.step * recipe.batch_size
        rest = Subset(self.sampler, range(first, len(self.sampler)))
        loader = DataLoader(rest, batch_size=recipe.batch_size, num_workers=recipe.workers,
                            worker_init_fn=_quiet_worker, persistent_workers=False,
                            prefetch_factor=4 if recipe.workers else None)
        clock = time.monotonic()
        batches = iter(loader)
        if self.random_state is not None:  # only now: making the iterator has drawn a random number
            torch.set_rng_state(self.random_state)
        for image, codes in batches:
            waited = time.monotonic() - clock
            rate = learning_rate(self.step, recipe.steps, recipe.optimiser)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            image = image.to(self.device, memory_format=torch.channels_last_3d)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.half_precision):
                logits = self.network(image)
            loss, terms = self.losses(Supervision(logits, codes.to(self.device), self.table, recipe.voxels_per_set))
            if not math.isfinite(float(loss.detach())):
                raise UserError(f"step {self.step + 1}: the loss is {float(loss.detach())}; last good checkpoint kept, "
                                f"try a lower optimiser.learning_rate than {recipe.optimiser.learning_rate}")
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(self.network.parameters(), recipe.optimiser.clip_gradient)
            if not math.isfinite(float(norm)):
                raise UserError(f"step {self.step + 1}: the gradient is not finite; last good checkpoint kept, "
                                f"try a lower optimiser.learning_rate than {recipe.optimiser.learning_rate}")
            self.optimiser.step()
            self.step += 1
            self._update_average()
            now = time.monotonic()
            yield {"step": self.step, "loss": float(loss.detach()), **terms, "learning_rate": rate,
                   "seconds": round(now - clock, 3), "waited": round(waited, 3)}
            clock = now

    def _update_average(self) -> None:
        keep = min(self.recipe.optimiser.ema, self.step / (self.step + 10))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                if value.is_floating_point():
                    self.average[name].lerp_(value, 1 - keep)
                else:
                    self.average[name].copy_(value)

    def averaged_network(self) -> nn.Module:
        """The network with its moving-average weights: what is shipped."""
        self.network.load_state_dict(self.average)
        return self.network.eval().cpu()

    def save(self, path: Path) -> None:
        """Writes the checkpoint whole."""
        save_checkpoint(path, self.network, self.average, self.optimiser, self.step, self.essence)

    def restore(self, state: dict) -> None:
        """Goes back to a checkpoint. Raises UserError when the recipe's settings have changed since."""
        for key, value in self.essence.items():
            if state["settings"].get(key) != value:
                raise UserError(f"--resume: {key} was {state['settings'].get(key)} and is now {value}; "
                                "resume with the same recipe or start a new run")
        self.network.load_state_dict(state["network"])
        self.average = {name: value.to(self.device) for name, value in state["average"].items()}
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]
        self.random_state = state["torch_random"]


def _forget_later_lines(log: Path, step: int) -> None:
    """Drops what a killed run logged after its last checkpoint: it will be logged again."""
    if log.exists():
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
        with whole_file(log) as temporary:
            temporary.write_text("".join(line for line in lines if line.endswith("}\n")
                                         and json.loads(line)["step"] <= step), encoding="utf-8")


def learning_rate(step: int, steps: int, settings: OptimiserSettings) -> float:
    """Linear warm-up, then polynomial decay to zero after the last step."""
    warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    return settings.learning_rate * warm * (1 - step / steps) ** settings.decay_power


def _essence(recipe: Recipe) -> dict:
    """The settings that decide the numbers; how often to save does not."""
    kept = recipe.model_dump(mode="json", exclude={"checkpoint_every", "workers", "bundle"})
    return json.loads(json.dumps(kept))


def _device(name: str) -> torch.device:
    from ..inference.backend import choose_device

    return choose_device(name)


def _quiet_worker(_worker: int) -> None:
    """Loader processes leave signals to the main one and compute with one thread."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)


@contextlib.contextmanager
def _stop_asked() -> Iterator[list[int]]:
    """A list that is no longer empty once SIGINT or SIGTERM came. Outside the main thread it stays empty."""
    asked: list[int] = []
    try:
        before = {number: signal.signal(number, lambda received, _frame: asked.append(received)) for number in SIGNALS}
    except ValueError:
        before = {}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell_classes_without_voxels(cases: list[CachedCase], label_space: LabelSpace, reporter: Reporter) -> None:
    seen = {label for cached in cases for label in cached.positions}
    missing = [organ.name for organ in label_space.organs if organ.index not in seen]
    if missing:
        reporter.warning(f"no training voxel is certainly {', '.join(missing)}")
