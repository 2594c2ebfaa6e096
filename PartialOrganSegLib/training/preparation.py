"""What a run starts from: its network, the model it goes on from, and its cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ..annotation import OUTSIDE, CandidateTable
from ..datasets.manifest import Manifest
from ..errors import Code, Problem, UserError, did_you_mean
from ..events import Reporter
from ..loading.cache import CachedCase, cache_cases
from ..loading.soft_cache import ClassSets, with_soft_targets
from ..models.bundle import Bundle, Preprocessing, load_bundle
from ..networks import build_network, channels_last
from ..organs import LabelSpace
from .distributed import Processes
from .recipe import Recipe
from .settings import NetworkSettings, uses_soft_targets
from .start_share import StartShare
from .transfer import ClassMap, MappedTeacher, class_axes, moved_arguments, moved_weights
from .validation import validation_groups


def preprocessing_of(recipe: Recipe) -> Preprocessing:
    """How the trained model will read a CT."""
    return Preprocessing(recipe.spacing_zyx, recipe.clip_hu, recipe.subtract, recipe.divide, recipe.patch_zyx)


@dataclass(frozen=True)
class Start:
    """The network to train with its settings, the frozen one that it began as, if any, and its share of the result.

    `bundle`: the start model; of a joined one `network` and `teacher` are the network that goes on learning.
    """

    network: nn.Module
    settings: NetworkSettings
    teacher: nn.Module | None
    share: StartShare | None
    bundle: Bundle | None = None


def build_start(recipe: Recipe, label_space: LabelSpace, device: torch.device, processes: Processes,
                reporter: Reporter) -> Start:
    """Builds the network with seeded weights, or those of `start_from`, of a joined model those of its learner.

    Raises UserError for a start model that does not fit and a patch that the network cannot take.
    """
    if recipe.start_from is None:
        if recipe.start_share:
            raise UserError(code=Code.SETTINGS_CONFLICT, subject="start_share", expected="0 without start_from",
                            found=recipe.start_share)
        settings = recipe.network or NetworkSettings()
        network = _seeded_network(recipe, settings, label_space)
        return Start(_placed(network, device, processes, reporter), settings, None, None)
    whole = load_bundle(recipe.start_from)
    bundle = whole.learner
    bundle.check_trainable()
    classes = ClassMap.between(bundle.label_space, label_space)
    settings = recipe.network or NetworkSettings(name=bundle.network_name,
                                                 arguments=moved_arguments(bundle.network_arguments, classes))
    network = _seeded_network(recipe, settings, label_space)
    teacher = _start_model(bundle, classes, network, label_space, settings, recipe, reporter)
    network = _placed(network, device, processes, reporter)
    share = None
    if recipe.start_share or (recipe.validation and recipe.validation.start_shares):
        axes = class_axes(settings.name, settings.arguments, label_space.class_count)
        share = StartShare.of(network.state_dict(), recipe.start_share, axes, classes.new)
    return Start(network, settings, channels_last(teacher.to(device)), share, whole)


def _seeded_network(recipe: Recipe, settings: NetworkSettings, label_space: LabelSpace) -> nn.Module:
    """The network with weights drawn from the recipe's seed. Raises UserError for a patch that it cannot take."""
    torch.manual_seed(recipe.seed)
    network = build_network(settings.name, 1, label_space.class_count, **settings.arguments)
    check_patch(recipe.patch_zyx, network)
    return network


def check_patch(patch_zyx: Sequence[int], network: nn.Module) -> None:
    """Raises UserError for a patch (z, y, x) that the network cannot take."""
    if any(size % multiple for size, multiple in zip(patch_zyx, network.size_multiple, strict=True)):
        raise UserError(code=Code.VALUE_UNFIT, subject="patch_zyx", expected=f"multiples of {network.size_multiple}",
                        found=patch_zyx)


def _placed(network: nn.Module, device: torch.device, processes: Processes, reporter: Reporter) -> nn.Module:
    """The network on its device, ready for several processes."""
    network = network.to(device)
    if processes.size > 1 and any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in network.modules()):
        if device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        else:
            reporter.warning(Problem(Code.PROCESSES_DIFFER, found="batch norm sees each process's own part of a mini-"
                                     "batch: several processes on the CPU do not compute exactly what one would"))
    return channels_last(network)


def _start_model(bundle: Bundle, classes: ClassMap, network: nn.Module, label_space: LabelSpace,
                 settings: NetworkSettings, recipe: Recipe, reporter: Reporter) -> nn.Module:
    """Loads the start model's weights into `network`; gives the start model itself, in the run's label space."""
    teacher = bundle.load_network("cpu")
    weights = teacher.state_dict()
    if not classes.same:
        _tell_changed_classes(bundle, label_space, classes, recipe, reporter)
        weights = moved_weights(weights, bundle.network_name, bundle.network_arguments,
                                bundle.label_space.class_count, classes)
        teacher = MappedTeacher(teacher, classes).eval()
    try:
        network.load_state_dict(weights)
    except RuntimeError:
        raise UserError(code=Code.MODEL_UNFIT, subject="start_from",
                        expected=f"a model of network {settings.name} {settings.arguments}",
                        found=bundle.network_name) from None
    own = preprocessing_of(recipe)
    for name in ("spacing_zyx", "clip_hu", "subtract", "divide"):
        if getattr(own, name) != getattr(bundle.preprocessing, name):
            reporter.warning(Problem(Code.START_DIFFERS, name, found=f"{getattr(own, name)}, but the start model was "
                                     f"trained with {getattr(bundle.preprocessing, name)}"))
    return teacher


def _tell_changed_classes(bundle: Bundle, label_space: LabelSpace, classes: ClassMap, recipe: Recipe,
                          reporter: Reporter) -> None:
    """Raises UserError when distillation would take new organs for something the start model denies."""
    new = [label_space.names[label - 1] for label in classes.new]
    dropped = [bundle.label_space.names[label - 1] for label in classes.dropped]
    if new:
        reporter.warning(Problem(Code.NEW_ORGANS, f"new to the start model {bundle.name}", found=", ".join(new),
                                 hint="they start as rare background"))
    if dropped:
        reporter.warning(Problem(Code.DROPPED_ORGANS, found=", ".join(dropped),
                                 subject=f"organs of the start model {bundle.name} that the run leaves out"))
    for stage in recipe.resolved_stages():
        told = stage.loss_arguments.get("distillation", {}).get("new_classes", [])
        if stage.losses.get("distillation") and told != list(classes.new):
            raise UserError(code=Code.VALUE_UNFIT, subject="loss_arguments: distillation.new_classes",
                            expected=f"{list(classes.new)} ({', '.join(new) or 'none'} new to the start model)",
                            found=told)


@dataclass(frozen=True)
class Cases:
    """Cases to train and to validate on, the candidate sets of both, and the sets that soft targets speak of."""

    training: list[CachedCase]
    validation: list[CachedCase]
    table: CandidateTable
    soft_sets: ClassSets = ()

    def essence(self) -> dict[str, Any]:
        """What a resumed run must find again."""
        soft = [None if cached.soft_targets is None else cached.soft_targets.file.name for cached in self.training]
        sets = np.delete(self.table.table, OUTSIDE, axis=0)  # as checkpoints of 0.4.0 have them
        return {"cases": [cached.image_file.name for cached in self.training],
                "candidate_sets": sets.astype(int).tolist(), "soft_targets": soft if any(soft) else None}


def read_cases(recipe: Recipe, manifest: Manifest, reporter: Reporter) -> Cases:
    """Reads and resamples what the manifest lists, except what is held out; splits off what is validated on.

    Tells classes of which no training voxel is certain. Raises UserError for unknown groups and when none is left.
    """
    space = manifest.label_space
    groups = {case.group for case in manifest.cases}
    for group in recipe.hold_out:
        if group not in groups:
            raise UserError(code=Code.UNKNOWN_NAME, subject="hold_out",
                            found=f"no case of group {group} in {manifest.path}", hint=did_you_mean(group, groups))
    validated = set(validation_groups(recipe, manifest))
    table = CandidateTable(space.class_count)
    cached = cache_cases(manifest.without(recipe.hold_out), space, table, recipe.spacing_zyx,
                         recipe.manifest.parent / "cache", reporter, recipe.air_is_background)
    if any(stage.pseudo_labels is not None for stage in recipe.resolved_stages()):
        for label in range(space.class_count):
            table.code({label})
    soft_sets: ClassSets = ()
    if any(uses_soft_targets(stage) for stage in recipe.resolved_stages()):
        cached, soft_sets = with_soft_targets(cached, space, reporter)
    training = [one for one in cached if one.case.group not in validated]
    if not any(one.case.weight > 0 for one in training):
        raise UserError(code=Code.NO_CASES, subject=manifest.path, found="no case left to train on")
    _tell_untaught_classes(training, space, recipe, reporter)
    return Cases(training, [one for one in cached if one.case.group in validated], table, soft_sets)


def _tell_untaught_classes(cases: Sequence[CachedCase], label_space: LabelSpace, recipe: Recipe,
                           reporter: Reporter) -> None:
    """Tells organs that no voxel shows for certain, unless the start model teaches them."""
    taught = {label for cached in cases for label in cached.positions}
    for stage in recipe.resolved_stages() if recipe.start_from is not None else ():
        if stage.losses.get("distillation"):
            new = stage.loss_arguments.get("distillation", {}).get("new_classes", [])
            taught |= set(range(label_space.class_count)) - set(new)
    missing = [organ.name for organ in label_space.organs if organ.index not in taught]
    if missing:
        reporter.warning(Problem(Code.NO_LABELS, found=f"no training voxel is certainly {', '.join(missing)}"))
