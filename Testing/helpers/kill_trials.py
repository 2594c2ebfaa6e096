"""Commands that are killed at random moments and simply started again: what has to be so in between and at the end."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from PartialOrganSegLib.batch.records import DONE, read_record, record_file
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.models.bundle import METADATA, load_bundle
from PartialOrganSegLib.models.checksums import verify_bundle, write_checksums
from Testing.helpers.batch_data import table
from Testing.helpers.finetune_data import QUICK, ct_of, only, write_start
from Testing.helpers.finetune_data import write_cases as write_finetune_cases
from Testing.helpers.fork_server import Ended, ForkServer
from Testing.helpers.moody_network import moody_bundle, write_moody_ct
from Testing.helpers.training_data import write_manifest, write_recipe
from Testing.helpers.training_runs import equal_weights, log_of

CASES = 4  # of a batch
MOST_STARTS = 5  # after the kills, until a command says that it is done


class Command:
    """A command with an output folder. `words` says how it is started, or started again, there.

    `inputs` is a folder that it makes once; `contents` is what must be the same as after an uninterrupted run.
    """

    name = ""

    def __init__(self, inputs: Path) -> None:
        self.inputs = inputs

    def begin(self, out: Path) -> None:
        """Makes what is there before the first start."""

    def words(self, out: Path) -> list[object]:
        raise NotImplementedError

    def environment(self, out: Path) -> dict[str, object]:
        return {}

    def finished(self, out: Path, ended: Ended) -> bool:
        """Whether that start was the last that is needed."""
        return ended.code == 0

    def wrong_now(self, out: Path) -> str:
        """What must not be so right after a kill."""
        return ""

    def contents(self, out: Path) -> object:
        raise NotImplementedError

    def leftovers(self, out: Path) -> list[str]:
        return sorted(path.relative_to(out).as_posix() for path in out.rglob("*")
                      if path.name.startswith(".") or path.suffix == ".lock")


class Segment(Command):
    name = "segment"

    def __init__(self, inputs: Path) -> None:
        super().__init__(inputs)
        self.model = moody_bundle(inputs / "moody").folder
        write_moody_ct(inputs / "cts" / "a.nii.gz")

    def words(self, out: Path) -> list[object]:
        return ["segment", self.inputs / "cts" / "a.nii.gz", "-o", out, "--model", self.model, "--device", "cpu"]

    def finished(self, out: Path, ended: Ended) -> bool:
        # Killed after its last file: it is refused as any earlier result is.
        record = read_record(record_file(out, "a"))
        return record is not None and record.finished(record.made_from, [out / name for name in record.outputs])

    def contents(self, out: Path) -> object:
        return [(out / f"a{ending}").read_bytes() for ending in (".labels.nii.gz", ".volumes.csv", ".seg.nrrd")]


class Batch(Segment):
    name = "batch"

    def __init__(self, inputs: Path) -> None:
        super().__init__(inputs)
        for number in range(CASES):
            write_moody_ct(inputs / "cts" / f"{'abcdefgh'[number]}.nii.gz", 60 + number)

    def words(self, out: Path) -> list[object]:
        return ["segment", self.inputs / "cts", "-o", out, "--model", self.model, "--device", "cpu", "--no-preview",
                "--resume"]

    def finished(self, out: Path, ended: Ended) -> bool:
        return ended.code == 0

    def contents(self, out: Path) -> object:
        states = {name: row["state"] for name, row in table(out).items()}
        assert set(states.values()) == {DONE}
        return states, [(out / f"{name}.labels.nii.gz").read_bytes() for name in sorted(states)]


class Beside(Batch):
    """The cases two at a time, each in a process of its own, which ends with the one that is killed."""

    name = "batch in two processes"

    def words(self, out: Path) -> list[object]:
        return [*super().words(out), "--workers", "2"]


class Train(Command):
    name = "train"

    def __init__(self, inputs: Path) -> None:
        super().__init__(inputs)
        self.recipe = write_recipe(inputs, write_manifest(inputs), steps=6, checkpoint_every=2, augmentation={
            "strength": 1.0}, validation={"groups": ["case1"], "every": 3})

    def words(self, out: Path) -> list[object]:
        resume = ["--resume"] if (out / "checkpoints" / "last.pt").exists() else []
        return ["train", self.recipe, "-o", out, "--device", "cpu", *resume]

    def contents(self, out: Path) -> object:
        return _training(out)


class Finetune(Command):
    name = "finetune"

    def __init__(self, inputs: Path) -> None:
        super().__init__(inputs)
        self.start = write_start(inputs / "start").folder
        self.data = write_finetune_cases(inputs / "cases", [only(ct_of(seed)[1], 2) for seed in range(2)])

    def words(self, out: Path) -> list[object]:
        if (out / "plan.json").exists():
            return ["finetune", "-o", out, "--resume", "--device", "cpu"]
        words: list[object] = ["finetune", "--model", self.start, "--data", self.data, "-o", out, "--steps", 4,
                               "--replay", "none", "--device", "cpu"]
        for setting in QUICK:
            words += ["--set", setting]
        return words

    def contents(self, out: Path) -> object:
        return _training(out), json.loads((out / "result.json").read_text("utf-8"))["dice"]

    def leftovers(self, out: Path) -> list[str]:
        return [name for name in super().leftovers(out) if name != ".lock"]  # which says that it is a run's folder


class Install(Command):
    """Replaces an installed model; `out` is the folder of installed models."""

    name = "models install --replace"

    def __init__(self, inputs: Path) -> None:
        super().__init__(inputs)
        self.old = moody_bundle(inputs / "old").folder
        self.new = moody_bundle(inputs / "new").folder
        metadata = json.loads((self.new / METADATA).read_text("utf-8"))
        (self.new / METADATA).write_text(json.dumps(metadata | {"version": "2"}), "utf-8")
        write_checksums(self.new)

    def begin(self, out: Path) -> None:
        shutil.copytree(self.old, out / "moody")

    def words(self, out: Path) -> list[object]:
        return ["models", "install", self.new, "--replace"]

    def environment(self, out: Path) -> dict[str, object]:
        return {"PARTIALORGANSEG_MODELS": out}

    def wrong_now(self, out: Path) -> str:
        try:
            verify_bundle(out / "moody")
        except UserError as error:
            return f"the installed model is neither the old nor the new one: {error}"
        return ""

    def contents(self, out: Path) -> object:
        return load_bundle(out / "moody").metadata.version


COMMANDS: tuple[type[Command], ...] = (Segment, Batch, Train, Finetune, Install)
SLOW_COMMANDS = (Beside,)  # whose processes take seconds to start


@dataclass
class Tally:
    """What became of a command's trials."""

    starts: int = 0
    kills: int = 0
    wrong: list[str] = field(default_factory=list)


class Trials:
    """Trials of one command; `server` starts it. Kills are drawn from `seed` alone, but for how fast the machine is."""

    def __init__(self, make: Callable[[Path], Command], folder: Path, server: ForkServer, seed: int) -> None:
        self._folder, self._server = folder, server
        (folder / "inputs").mkdir(parents=True)
        self.command = make(folder / "inputs")
        self._random = random.Random(f"{self.command.name} {seed}")
        self.tally = Tally()
        out = self._new_folder()
        self._uninterrupted = self._start(out)
        code = self._uninterrupted.code
        assert code == 0, f"{self.command.name}: the uninterrupted run ended with {code}"
        self._expected = self.command.contents(out)

    def trial(self, kills: int) -> None:
        """Starts the command in a new folder, kills it so many times, lets it finish and compares."""
        command, out, tally = self.command, self._new_folder(), self.tally
        seconds: list[str] = []
        for _ in range(kills):
            # Before a random change of the disk, as of a moment that matters, or after a random time.
            if self._random.random() < 0.6:
                moment = {"at_change": self._random.randint(1, max(1, self._uninterrupted.changes))}
            else:
                moment = {"after_s": self._random.uniform(0, 1.1 * self._uninterrupted.seconds)}
            ended = self._start(out, **moment)
            seconds.append(str(moment))
            tally.kills += ended.code == -9
            wrong = command.wrong_now(out)
            if wrong:
                tally.wrong.append(f"{command.name}, {', '.join(seconds)}: {wrong}")
        for _ in range(MOST_STARTS):
            if command.finished(out, self._start(out)):
                break
        else:
            tally.wrong.append(f"{command.name}, {', '.join(seconds)}: does not come to an end")
            return
        if not _equal(command.contents(out), self._expected):
            tally.wrong.append(f"{command.name}, {', '.join(seconds)}: another result than uninterrupted")
        leftovers = command.leftovers(out)
        if leftovers:
            tally.wrong.append(f"{command.name}, {', '.join(seconds)}: left behind {', '.join(leftovers)}")
        shutil.rmtree(out)

    def _new_folder(self) -> Path:
        out = self._folder / f"out{time.monotonic_ns()}"
        out.mkdir()
        self.command.begin(out)
        return out

    def _start(self, out: Path, **moment: float) -> Ended:
        self.tally.starts += 1
        return self._server.run(*self.command.words(out), **moment, **self.command.environment(out))


def _training(out: Path) -> object:
    """The weights, the model and the log of a finished training."""
    state = torch.load(out / "checkpoints" / "last.pt", weights_only=True)
    model = out / "model" / "models" / "model.safetensors"
    # What is decided after the last step is decided, and logged, again where the run is resumed in it.
    log = {json.dumps(line): None for line in log_of(out) if "total_seconds" not in line}
    return {"network": state["network"], "model": model.read_bytes(), "log": list(log)}


def _equal(first: object, second: object) -> bool:
    if isinstance(first, tuple) and isinstance(second, tuple):
        return len(first) == len(second) and all(map(_equal, first, second))
    if isinstance(first, dict) and isinstance(second, dict) and "network" in first:
        files = [(content["model"], content["log"]) for content in (first, second)]
        return files[0] == files[1] and equal_weights(first["network"], second["network"])
    return first == second


def kill_trials(make: type[Command], folder: Path, server: ForkServer, seed: int, kills: int) -> Tally:
    """About so many kills of a command, by up to three in a trial."""
    trials = Trials(make, folder, server, seed)
    # Those that came to their end before their moment are made up for, within reason.
    for trial in range(3 * kills):
        if trials.tally.kills >= kills:
            break
        trials.trial(1 + trial % 3)
    return trials.tally


if os.name == "nt":
    COMMANDS = SLOW_COMMANDS = ()
