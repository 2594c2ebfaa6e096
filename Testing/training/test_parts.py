"""The trainer's parts: schedules, optimisers, frozen parameters, logs, memory."""

from __future__ import annotations

import contextlib
import sys

import pytest
import torch
from torch import nn

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.training.distributed import Processes
from PartialOrganSegLib.training.logbook import Logbook
from PartialOrganSegLib.training.memory import fitting_patch, is_out_of_memory
from PartialOrganSegLib.training.objective import Objective
from PartialOrganSegLib.training.optimisation import build_optimiser, build_schedule, train_only
from PartialOrganSegLib.training.optimisers import OPTIMISERS
from PartialOrganSegLib.training.settings import NetworkSettings, OptimiserSettings, ScheduleSettings, Stage
from PartialOrganSegLib.training.start import class_layers
from PartialOrganSegLib.training.training_step import TrainingStep
from Testing.helpers.listener import Listener


def factors(name: str, steps: int, losses=None, **settings) -> list[float]:
    optimiser = OptimiserSettings(warmup_steps=settings.pop("warmup", 0), decay_power=0.9)
    schedule = build_schedule(ScheduleSettings(name=name, **settings), optimiser, steps)
    values = []
    for step in range(steps):
        values.append(schedule.factor(step))
        schedule.observe(losses[step] if losses else 0.0)
    return values


def test_poly_warms_up_and_ends_at_zero():
    values = factors("poly", 100, warmup=4)
    assert values[0] == pytest.approx(1 / 4)
    assert values[3:] == pytest.approx([(1 - step / 100) ** 0.9 for step in range(3, 100)])


def test_steps_and_constant():
    assert factors("step", 7, factor=0.5, every=3) == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]
    assert factors("constant", 5) == [1.0] * 5


def test_plateau_cuts_when_the_loss_stalls():
    """Epochs of 2 steps, 3 epochs of patience: cut after the first epoch that is not 1e-3 below three before it."""
    means = [1.0, 0.9, 0.8, 0.7, 0.6, 0.6, 0.6, 0.5996, 0.5996, 0.5996, 0.5995, 0.4]
    losses = [mean + sign * 0.1 for mean in means for sign in (1, -1)]
    # Within an epoch the loss goes up and down by 0.1: only means of epochs may decide.
    values = factors("plateau", len(losses), losses, factor=0.8, epoch_steps=2, patience=3, least_gain=1e-3)
    # 0.5996 (epoch 8) is 0.0004 below 0.6 (epoch 5), and 0.5995 (epoch 11) next to nothing below that.
    assert values == pytest.approx([1.0] * 16 + [0.8] * 6 + [0.64] * 2)


def test_a_plateau_waits_as_long_after_a_cut_as_before_the_first():
    """Cut every 10 epochs of a loss that stands still (Shi 2021, section 4.2); it was every 11."""
    values = factors("plateau", 42, [1.0] * 42, factor=0.5, epoch_steps=1, patience=10)
    cuts = [step for step in range(1, 42) if values[step] < values[step - 1]]
    assert cuts == [11, 21, 31, 41]  # the first mean has none to be compared with


def test_a_plateau_is_left_where_the_loss_falls_again():
    means = [1.0, 1.0, 1.0, 1.0, 0.9, 0.8, 0.7, 0.6]
    assert factors("plateau", 8, means, factor=0.5, epoch_steps=1, patience=3) == [1.0] * 4 + [0.5] * 4


def test_a_plateau_resumes_where_it_was():
    losses = [1.0] * 40

    def build():
        return build_schedule(ScheduleSettings(name="plateau", epoch_steps=3, patience=2), OptimiserSettings(), 40)

    uninterrupted, first = build(), build()
    for loss in losses:
        uninterrupted.observe(loss)
    for loss in losses[:17]:
        first.observe(loss)
    second = build()
    second.load_state_dict(first.state_dict())
    for loss in losses[17:]:
        second.observe(loss)
    assert second.state_dict() == uninterrupted.state_dict()
    assert second.factor(99) < 1


@pytest.mark.parametrize("name", list(OPTIMISERS))
def test_weights_descend_and_dual_variables_ascend(name):
    weight, dual = nn.Parameter(torch.tensor([1.0])), nn.Parameter(torch.tensor([1.0]))
    settings = OptimiserSettings(name=name, learning_rate=0.01, dual_learning_rate=0.02, weight_decay=0.0)
    optimiser = build_optimiser(settings, [weight], [dual])
    (weight + dual).sum().backward()
    optimiser.step()
    assert weight.item() < 1 < dual.item()
    assert [group["lr"] for group in optimiser.param_groups] == [0.01, 0.02]


def test_layers_of_classes_learn_at_their_rate():
    space = WORD16
    stage = Stage(name="one", steps=2, optimiser=OptimiserSettings(learning_rate=0.01, class_rate=20, warmup_steps=0))
    settings = NetworkSettings(name="light_unet", arguments={"channels": [4, 4]})
    names = class_layers(settings, space)
    network = build_network("light_unet", 1, space.class_count, channels=[4, 4])
    # Of them all, and of nothing else, one axis is as long as there are classes.
    assert names == [name for name, value in network.named_parameters() if space.class_count in value.shape]
    training_step = TrainingStep(network, None, torch.ones(2, space.class_count, dtype=torch.bool),
                                 torch.device("cpu"), False, Processes(), names)
    training_step.begin(stage, Objective(stage, space))
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    training_step.optimiser.step()
    for name, value in network.named_parameters():
        # AdamW's first step is as long as the rate; little of it is the decay of weights.
        moved = (before[name] - value).abs().mean().item()
        assert moved == pytest.approx(0.2 if name in names else 0.01, rel=0.1)


def test_only_the_named_parameters_are_trained():
    network = nn.Sequential()
    network.add_module("body", nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2)))
    network.add_module("fusion", nn.Sequential(nn.Conv3d(2, 2, 1), nn.BatchNorm3d(2)))
    trained = train_only(network, r"fusion\.")
    assert [id(p) for p in trained] == [id(p) for p in network.fusion.parameters()]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(torch.randn(2, 1, 3, 3, 3)).sum().backward()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    # Statistics of a frozen norm stay, or the frozen part would drift without being trained.
    assert changed == {"fusion.1.running_mean", "fusion.1.running_var", "fusion.1.num_batches_tracked"}
    assert len(train_only(network, None)) == 8
    with pytest.raises(UserError, match=r"train_parameters: .*found 'fusionn'.*did you mean 'fusion\.[01]'"):
        train_only(network, "fusionn")


class Greedy(nn.Module):
    """Has memory for 600 voxels."""

    size_multiple = (2, 4, 4)

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv3d(1, 2, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if image.numel() > 600:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.layer(image)


def test_the_patch_that_fits_is_found_by_trying():
    fits = fitting_patch(Greedy(), (8, 16, 32), 1, torch.device("cpu"), contextlib.nullcontext)
    # At least half of the room is used: a patch that is too small costs accuracy.
    assert 300 < fits[0] * fits[1] * fits[2] <= 600
    assert all(side % unit == 0 for side, unit in zip(fits, Greedy.size_multiple, strict=True))
    assert fitting_patch(Greedy(), (8, 16, 32), 100, torch.device("cpu"), contextlib.nullcontext) is None
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not is_out_of_memory(RuntimeError("shapes differ"))


def test_waiting_for_data_is_reported(tmp_path):
    advice = "50% of the time was spent waiting for data; more 'workers' may help"
    for waited, warnings in ((50.0, [advice]), (15.0, [])):
        reporter = Listener()
        log = Logbook(tmp_path, 0, reporter)
        log.time(100.0, waited)
        log.close()
        assert reporter.warnings == warnings


def test_without_tensorboard_the_log_is_written_and_that_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    reporter = Listener()
    log = Logbook(tmp_path, 0, reporter)
    log.write({"step": 1, "loss": 2.0})
    log.close()
    assert (tmp_path / "log.jsonl").read_text() == '{"step": 1, "loss": 2.0}\n'
    assert not (tmp_path / "events").exists()
    assert "no TensorBoard events" in reporter.warnings[0]
