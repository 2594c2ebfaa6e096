"""The network that a run starts with: freshly drawn weights, or those of the model that it goes on from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..models.bundle import Bundle, load_bundle
from ..models.checksums import MANIFEST, sha256
from ..networks import build_network, channels_last
from ..networks.backbones import load_backbone
from ..organs import LabelSpace
from .distributed import Processes
from .network_sizes import size_multiple_of
from .recipe import Recipe
from .settings import NetworkSettings
from .transfer import ClassMap, MappedTeacher, class_axes, moved_arguments, moved_weights
from .weight_ensemble import WeightEnsemble

# Of the preprocessing; with another patch the network gets the same input.
COMPARED = ("spacing_zyx", "clip_hu", "subtract", "divide")


@dataclass(frozen=True)
class Start:
    """The network to train with its settings; with a start model also that one, frozen, and the ensemble with it.

    `bundle`: the start model; of a joined one `network` and `teacher` are the member that goes on learning.
    `new_classes`: those that it does not have.
    """

    network: nn.Module
    settings: NetworkSettings
    teacher: nn.Module | None = None
    ensemble: WeightEnsemble | None = None
    bundle: Bundle | None = None
    new_classes: tuple[int, ...] = ()

    def essence(self) -> dict[str, object]:
        """What must be the same when the run is resumed, as JSON has it: the start model's content."""
        return {"start_model": None if self.bundle is None else sha256(self.bundle.folder / MANIFEST)}


def build_start(recipe: Recipe, label_space: LabelSpace, device: torch.device, processes: Processes,
                reporter: Reporter) -> Start:
    """Builds the network with seeded weights, or those of `start_from`, of a joined model those of its learner.

    Raises UserError for a start model that does not fit and a patch that the network cannot take.
    """
    if recipe.start_from is None:
        if recipe.alpha < 1:
            raise UserError(code=Code.SETTINGS_CONFLICT, subject="alpha", expected="1 without start_from",
                            found=recipe.alpha)
        settings = recipe.network or NetworkSettings()
        network = _seeded_network(recipe, settings, label_space)
        return Start(_placed(network, device, processes, reporter), settings)
    bundle = load_bundle(recipe.start_from)
    learner = bundle.learner
    learner.check_trainable()
    classes = ClassMap.between(learner.label_space, label_space)
    settings = recipe.network or NetworkSettings(name=learner.network_name,
                                                 arguments=moved_arguments(learner.network_arguments, classes))
    network = _seeded_network(recipe, settings, label_space)
    teacher = _load_start_model(learner, classes, network, label_space, settings, recipe, reporter)
    network = _placed(network, device, processes, reporter)
    ensemble = None
    if recipe.alpha < 1 or (recipe.validation is not None and recipe.validation.alphas):
        axes = class_axes(settings.name, settings.arguments, label_space.class_count)
        ensemble = WeightEnsemble.from_start(network.state_dict(), recipe.alpha, axes, classes.new)
    return Start(network, settings, channels_last(teacher.to(device)), ensemble, bundle, classes.new)


def _seeded_network(recipe: Recipe, settings: NetworkSettings, label_space: LabelSpace) -> nn.Module:
    """The network with weights drawn from the recipe's seed. Raises UserError for a patch that it cannot take."""
    torch.manual_seed(recipe.seed)
    network = build_network(settings.name, 1, label_space.class_count, **settings.arguments)
    check_patch(recipe.preprocessing.patch_zyx, network)
    if settings.backbone_weights is not None:
        load_backbone(network, settings.backbone_weights)
    return network


def class_layers(settings: NetworkSettings, label_space: LabelSpace) -> list[str]:
    """Names of the network's parameters that grow with the number of classes."""
    axes = class_axes(settings.name, settings.arguments, label_space.class_count)
    return [name for name, of_tensor in axes.items() if of_tensor]


def check_patch(patch_zyx: Sequence[int], network: nn.Module) -> None:
    """Raises UserError for a patch (z, y, x) that the network cannot take."""
    multiples = size_multiple_of(network)
    if any(size % multiple for size, multiple in zip(patch_zyx, multiples, strict=True)):
        raise UserError(code=Code.VALUE_UNFIT, subject="preprocessing.patch_zyx",
                        expected=f"multiples of {multiples}", found=patch_zyx)


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


def _load_start_model(bundle: Bundle, classes: ClassMap, network: nn.Module, label_space: LabelSpace,
                      settings: NetworkSettings, recipe: Recipe, reporter: Reporter) -> nn.Module:
    """Loads the start model's weights into `network`; gives the start model itself, in the run's label space."""
    teacher = bundle.load_network("cpu")
    weights = teacher.state_dict()
    if not classes.identical:
        _report_changed_classes(bundle, label_space, classes, recipe, reporter)
        weights = moved_weights(weights, bundle.network_name, bundle.network_arguments,
                                bundle.label_space.class_count, classes)
        teacher = MappedTeacher(teacher, classes).eval()
    try:
        network.load_state_dict(weights)
    except RuntimeError:
        raise UserError(code=Code.MODEL_UNFIT, subject="start_from",
                        expected=f"a model of network {settings.name} {settings.arguments}",
                        found=bundle.network_name) from None
    for name in COMPARED:
        value, before = getattr(recipe.preprocessing, name), getattr(bundle.preprocessing, name)
        if value != before:
            reporter.warning(Problem(Code.START_DIFFERS, f"preprocessing.{name}",
                                     found=f"{value}, but the start model was trained with {before}"))
    return teacher


def _report_changed_classes(bundle: Bundle, label_space: LabelSpace, classes: ClassMap, recipe: Recipe,
                            reporter: Reporter) -> None:
    """Warns of organs that only one of both models has.

    Raises UserError when distillation would take new organs for something the start model denies.
    """
    new = [label_space.names[label - 1] for label in classes.new]
    dropped = [bundle.label_space.names[label - 1] for label in classes.dropped]
    if new:
        reporter.warning(Problem(Code.NEW_ORGANS, f"new to the start model {bundle.name}", found=", ".join(new),
                                 hint="they start as rare background"))
    if dropped:
        reporter.warning(Problem(Code.DROPPED_ORGANS, found=", ".join(dropped),
                                 subject=f"organs of the start model {bundle.name} that the run leaves out"))
    for stage in recipe.resolved_stages():
        new_classes = stage.loss_arguments.get("distillation", {}).get("new_classes", [])
        if stage.losses.get("distillation") and new_classes != list(classes.new):
            raise UserError(code=Code.VALUE_UNFIT, subject="loss_arguments: distillation.new_classes",
                            expected=f"{list(classes.new)} ({', '.join(new) or 'none'} new to the start model)",
                            found=new_classes)
