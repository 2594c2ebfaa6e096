"""The time that was promised is the time used, however long steps really take; and how a run ends that is cancelled."""

from __future__ import annotations

import json
import math
import multiprocessing
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.finetuning.free_cores import FreeCores
from PartialOrganSegLib.finetuning.looking import StoredLabels, compare_looks
from PartialOrganSegLib.finetuning.measured_on import MeasuredOn
from PartialOrganSegLib.finetuning.options import FinetuneOptions
from PartialOrganSegLib.finetuning.plan import TimePlan, read_plan
from PartialOrganSegLib.finetuning.preparation import prepare
from PartialOrganSegLib.finetuning.preparation_state import Request
from PartialOrganSegLib.finetuning.run import finetune, resume
from PartialOrganSegLib.finetuning.time_keeping import WRITING_S, TimeKeeper
from PartialOrganSegLib.finetuning.used_time import UsedTime
from PartialOrganSegLib.process_settings import WAIT_POLICY
from PartialOrganSegLib.resources import resource
from PartialOrganSegLib.segmenting import cores as segmenting_cores
from PartialOrganSegLib.segmenting.threads import threads
from PartialOrganSegLib.training.checkpoint import load_checkpoint
from PartialOrganSegLib.training.hooks import StepReport
from Testing.helpers.finetune_data import QUICK, RunListener, ct_of, only, small_phantom, write_cases, write_start
from Testing.helpers.training_data import write_image


class PretendRun:
    """A stage of steps and measurements that take so many seconds of a clock of its own, as the trainer runs them."""

    def __init__(self, step_s: float, measurement_s: float, most: int = 1_000_000) -> None:
        self.step_s, self.measurement_s, self.most = step_s, measurement_s, most
        self.now, self.step, self.plan, self.measured_at = 0.0, 0, (0, 0), []

    def plan_stage(self, steps: int, next_measurement: int) -> None:
        self.plan = max(self.step, min(steps, self.most)), next_measurement

    def run(self, keeper: TimeKeeper, steps: int | None = None) -> None:
        keeper.on_start(self)
        while self.step < self.plan[0] and (steps is None or self.step < steps):
            self.now += self.step_s
            self.step += 1
            keeper.on_step(self, StepReport(self.step, "stage", {}, self.step_s, 0.0))
            if self.step == self.plan[1] or self.step >= self.plan[0]:
                self.now += self.measurement_s
                self.measured_at.append(self.step)
                keeper.on_validation(self, {})

    def try_alphas(self, keeper: TimeKeeper, count: int) -> None:
        for _ in range(count):
            if not keeper.allows_trial(self):
                break
            self.now += self.measurement_s


@given(st.floats(0.2, 5.0), st.floats(0.2, 4.0), st.integers(0, 3))
def test_minutes_used_are_minutes_promised_whatever_the_machine_does(expected_s, slower, trials):
    """Steps and measurements take from a fifth to four times as long as they were timed."""
    seconds, measurement_s = 600.0, 10.0
    measuring = (3 + trials) * measurement_s
    plan = TimePlan(seconds=seconds, steps=int((seconds - WRITING_S - measuring) / expected_s), measurements=3,
                    measurement_seconds=measurement_s, trials=trials)
    run = PretendRun(slower * expected_s, slower * measurement_s)
    keeper = TimeKeeper(plan, clock=lambda: run.now)
    run.run(keeper)
    run.try_alphas(keeper, trials)
    used = run.now + WRITING_S
    # A step, and what a measurement takes longer than expected, are not divided.
    assert used == pytest.approx(seconds, rel=0.1)
    # Measurements that are too dear are left out, the last one never.
    assert 1 <= len(run.measured_at) <= 3
    assert run.measured_at[-1] == run.step
    if slower <= 1:
        assert len(run.measured_at) == 3


def test_measurements_that_turn_out_dear_leave_time_to_learn():
    """Of six minutes, seven measurements of 40 s each would leave one for the steps."""
    plan = TimePlan(seconds=270.0, steps=123, measurements=3, measurement_seconds=8.0, trials=4)
    run = PretendRun(1.75, 40.0)
    keeper = TimeKeeper(plan, clock=lambda: run.now)
    run.run(keeper)
    assert run.step >= 80
    run.try_alphas(keeper, plan.trials)
    assert run.now + WRITING_S <= plan.seconds * 1.1


def test_the_first_measurement_is_expected_to_be_as_slow_as_steps_are():
    plan = TimePlan(seconds=200.0, steps=17, measurements=1, measurement_seconds=50.0, trials=0, step_seconds=8.0)
    run = PretendRun(step_s=16.0, measurement_s=100.0)
    run.run(TimeKeeper(plan, clock=lambda: run.now))
    # 50 s kept free for it would have been 50 s too few.
    assert run.now + WRITING_S <= 200.0


def test_a_neighbour_that_comes_and_goes_changes_the_steps_and_not_the_time():
    plan = TimePlan(seconds=300.0, steps=280, measurements=2, measurement_seconds=5.0, trials=0)
    run = PretendRun(1.0, 5.0)
    keeper = TimeKeeper(plan, clock=lambda: run.now)
    run.run(keeper, steps=50)
    run.step_s = 4.0
    run.run(keeper, steps=80)
    run.step_s = 1.0
    run.run(keeper)
    assert run.now == pytest.approx(300 - WRITING_S, abs=10)
    assert run.step < 250


def test_a_plan_of_a_single_step_is_made_anew_after_it():
    """On a machine that was busy when it was timed: all but one step would have been left out."""
    plan = TimePlan(seconds=150.0, steps=1, measurements=1, measurement_seconds=30.0, trials=3)
    run = PretendRun(1.0, 4.0)
    keeper = TimeKeeper(plan, clock=lambda: run.now)
    run.run(keeper)
    assert run.step > 20
    run.try_alphas(keeper, plan.trials)
    assert run.now + WRITING_S <= plan.seconds


@given(st.floats(0.3, 1.9))
def test_what_is_not_needed_after_the_training_is_trained_in(slower):
    """Looking at CTs with both models takes as many times longer than was worked out as steps do."""
    plan = TimePlan(seconds=200.0, steps=190, measurements=1, measurement_seconds=1.0, trials=0, looking_seconds=60.0,
                    step_seconds=1.0)
    run = PretendRun(slower, slower)
    run.run(TimeKeeper(plan, clock=lambda: run.now))
    assert run.now + 60.0 * slower + WRITING_S == pytest.approx(260.0, abs=6)


def test_a_resumed_run_has_the_time_that_was_left():
    plan = TimePlan(seconds=100.0, steps=90, measurements=1, measurement_seconds=1.0, trials=0)
    run = PretendRun(1.0, 1.0)
    keeper = TimeKeeper(plan, clock=lambda: run.now)
    run.run(keeper, steps=40)
    state = keeper.state_dict()
    run.now += 1000  # a night
    resumed = TimeKeeper(plan, clock=lambda: run.now)
    resumed.load_state_dict(state)
    run.run(resumed)
    assert resumed.spent == pytest.approx(95, abs=3)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    start = write_start(folder / "start")
    return start, write_cases(folder / "data", [only(ct_of(seed)[1], 2) for seed in range(2)])


def test_a_real_run_is_planned_anew_from_its_steps(study, tmp_path):
    """Timed on made-up patches, a plan of tiny steps is wrong; it ends in time all the same."""
    start, data = study
    begin = time.monotonic()
    options = FinetuneOptions(minutes=0.4, replay="none", overrides=QUICK)
    finetune(start.folder, data, tmp_path / "run", "cpu", options)
    assert time.monotonic() - begin < 60 * 0.4 * 1.3
    plan = read_plan(tmp_path / "run")
    assert plan.time is not None
    assert plan.time.steps == plan.steps
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")["step"] >= 1
    minutes = json.loads((tmp_path / "run" / "result.json").read_text("utf-8"))["minutes"]
    assert minutes["asked"] == options.minutes
    assert minutes["used"] == pytest.approx((time.monotonic() - begin) / 60, abs=0.1)
    parts = minutes["preparing"] + minutes["training"] + minutes["comparing"]
    assert minutes["used"] == pytest.approx(parts, abs=0.02)


def test_models_are_compared_on_fewer_cts_where_the_time_is_over(study, tmp_path):
    start, _ = study
    images = {write_image(tmp_path / f"{seed}.nii.gz", ct_of(seed)[0]): str(seed) for seed in range(3)}
    before, after = (StoredLabels(None, start, start.label_space, kind, torch.device("cpu")) for kind in ("a", "b"))
    for seconds, count in ((0.0, 1), (math.inf, 3)):
        looks = compare_looks(images, before, after, start.label_space, RunListener(), seconds)
        assert len(looks) == count


def test_what_a_run_was_used_for_is_counted_over_its_ends():
    """Preparing 30 s, training 100 s before it was ended and 50 s after, a night between; then 20 s of comparing."""
    time_plan = TimePlan(seconds=150.0, steps=100, measurements=1, measurement_seconds=1.0, trials=0)
    clock = SimpleNamespace(now=1000.0)
    run_time = UsedTime(SimpleNamespace(asked_minutes=4.0, preparing_seconds=30.0), lambda: clock.now)
    keeper = TimeKeeper(time_plan, clock=lambda: clock.now)
    keeper.load_state_dict({"spent": 100.0, "measured": 0, "measurement_seconds": 1.0})
    run_time.follow(keeper)
    clock.now += 50
    run_time.end_training()
    assert run_time.remaining_s == pytest.approx(240 - 30 - 150 - WRITING_S)
    clock.now += 20
    assert run_time.as_data() == {"asked": 4.0, "used": 3.33, "preparing": 0.5, "training": 2.5, "comparing": 0.33}


@pytest.mark.parametrize(("minutes", "are_measured"), [(0.01, False), (60, True)])
def test_phantoms_are_measured_only_where_there_is_time_to_learn(study, tmp_path, monkeypatch, minutes, are_measured):
    monkeypatch.setattr("PartialOrganSegLib.finetuning.replay.make_phantom", small_phantom)
    start, data = study
    options = FinetuneOptions(minutes=minutes, overrides=QUICK)
    request = Request(start, data, tmp_path, resource("recipes", "finetune.yaml"), torch.device("cpu"), options)
    plan = prepare(request, RunListener())
    assert (MeasuredOn.PHANTOMS in plan.measured_on.values()) is are_measured
    # They are learnt from in any case.
    assert any("phantom" in str(image) for image in plan.images)
    assert MeasuredOn.SLABS in plan.measured_on.values()


def test_a_run_of_steps_is_not_hurried(study, tmp_path):
    start, data = study
    options = FinetuneOptions(minutes=0.01, steps=6, replay="none", overrides=QUICK)
    finetune(start.folder, data, tmp_path / "run", "cpu", options)
    assert read_plan(tmp_path / "run").time is None
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")["step"] == 6


def test_too_little_time_is_said_and_kept(study, tmp_path):
    start, data = study
    reporter = RunListener(1, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        finetune(start.folder, data, tmp_path / "run", "cpu",
                 FinetuneOptions(minutes=0.01, replay="none", overrides=QUICK), reporter=reporter)
    assert any("expected time for 40 steps or more, found 0.01 minutes, enough for 1; with reading and measuring these "
               "take about 0." in line for line in reporter.warnings)
    assert read_plan(tmp_path / "run").steps == 1


def test_a_plan_made_anew_lies_in_the_checkpoint(study, tmp_path):
    start, data = study
    options = FinetuneOptions(minutes=0.5, replay="none", overrides=QUICK)
    with pytest.raises(RuntimeError, match="power cut"):
        finetune(start.folder, data, tmp_path / "run", "cpu", options, None, RunListener(8, RuntimeError("power cut")))
    state = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")
    steps, next_measurement = state["stage_plan"]
    assert 7 < next_measurement <= steps
    (keeper,) = state["hooks"].values()
    assert keeper["spent"] > 0
    resume(tmp_path / "run", "cpu")
    assert (tmp_path / "run" / "result.json").exists()


def test_a_cancelled_run_says_how_it_goes_on(study, tmp_path, capsys, monkeypatch):
    start, data = study
    run = tmp_path / "my run"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def cancel(trainer, report):
        trainer.stop()

    monkeypatch.setattr(TimeKeeper, "on_step", lambda self, trainer, report: cancel(trainer, report))
    words = ["finetune", "--model", str(start.folder), "--data", str(data), "-o", str(run), "--replay", "none",
             "--device", "cpu"]
    for setting in QUICK:
        words += ["--set", setting]
    assert main(words) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"error: cancelled after step 1; go on with: partialorganseg finetune -o '{run}' --resume"


def _busy(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_threads_follow_the_load_but_not_that_of_our_own_loaders(monkeypatch):
    monkeypatch.delenv(WAIT_POLICY, raising=False)
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("PartialOrganSegLib.finetuning.free_cores.time.monotonic", lambda: clock.now)
    monkeypatch.setattr("PartialOrganSegLib.finetuning.free_cores.os.cpu_count", lambda: 4)
    monkeypatch.setattr("PartialOrganSegLib.finetuning.free_cores.usable_cores", lambda: 4)
    busy = SimpleNamespace(others=0.0, children=0.0)
    monkeypatch.setattr(segmenting_cores.Load, "cores_of_others", lambda self: busy.others)
    monkeypatch.setattr("PartialOrganSegLib.finetuning.free_cores._children_s", lambda: busy.children)
    with threads(4):
        cores = FreeCores(torch.device("cpu"))
        with cores.following():
            for others, children_s, count in ((1.0, 0.0, 3), (1.0, 10.0, 4), (9.0, 10.0, 1), (0.0, 10.0, 4)):
                clock.now += 10
                busy.others, busy.children = others, children_s
                cores.use()
                assert torch.get_num_threads() == count
            clock.now += 1  # too soon to look again
            busy.others = 4.0
            cores.use()
            assert torch.get_num_threads() == 4
            clock.now += 10
            cores.use()
        assert torch.get_num_threads() == 4
        # Threads that sleep while they wait may be as many as there are cores.
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setenv(WAIT_POLICY, "passive")
        cores, busy.others = FreeCores(torch.device("cpu")), 4.0
        with cores.following():
            clock.now += 10
            cores.use()
            assert torch.get_num_threads() == 4


def test_what_children_use_is_seen():
    from PartialOrganSegLib.finetuning.free_cores import _children_s

    before = _children_s()
    child = multiprocessing.get_context("spawn").Process(target=_busy, args=(30.0,))
    child.start()
    try:
        end = time.monotonic() + 20
        while _children_s() <= before and time.monotonic() < end:
            time.sleep(0.1)
        assert _children_s() > before
    finally:
        child.kill()
        child.join()
