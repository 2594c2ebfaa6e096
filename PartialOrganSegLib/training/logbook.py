"""What a run leaves to look at: log.jsonl, TensorBoard events, and how long it waited for data."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path

from ..atomic import whole_file
from ..errors import Code, Problem, UserError
from ..events import JsonReporter, Reporter
from .hooks import Hook, RunView, StepReport

LOG_EVERY = 10  # steps
# Of the time; above it more loader processes would pay.
LONG_WAIT_SHARE = 0.2
# A shorter wait is nobody's concern.
LONG_WAIT_SECONDS = 10.0


class Logbook(Hook):
    """Writes figures of steps; `step` is where the run goes on from (lines after it are of a killed run and go).

    TensorBoard is left out, with a warning on a terminal, where its package is missing. A `silent` one writes nothing:
    for all processes but the first.
    """

    def __init__(self, folder: Path, step: int, reporter: Reporter, silent: bool = False) -> None:
        self._reporter, self._silent, self._path = reporter, silent, folder / "log.jsonl"
        self._step, self._seconds, self._waited = step, 0.0, 0.0
        self._events = None
        if silent:
            return
        _drop_later_lines(self._path, step)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self._advise("no TensorBoard events are written, its package is missing (pip install tensorboard); "
                         "log.jsonl holds the same figures")
        else:
            self._events = SummaryWriter(str(folder / "events"), purge_step=step + 1)

    def on_step(self, trainer: RunView, report: StepReport) -> None:
        """Every `LOG_EVERY` steps a line, with the stage where there are several."""
        self.time(report.seconds, report.waiting_seconds)
        if report.step % LOG_EVERY:
            return
        values: dict[str, object] = {"step": report.step}
        if trainer.stage_count > 1:
            values["stage"] = report.stage
        self.write({**values, **report.figures, "seconds": round(report.seconds, 3),
                    "waited": round(report.waiting_seconds, 3), "processor": round(report.processor_seconds, 3)})

    def on_validation(self, trainer: RunView, figures: Mapping[str, float]) -> None:
        """A line."""
        dice = {f"dice_{name}": round(value, 4) for name, value in figures.items()}
        self.write({"step": trainer.step, **dice})

    def write(self, values: dict[str, object]) -> None:
        """One line; `values` has a "step". Raises UserError on a full disk."""
        self._reporter.metric(**values)
        if self._silent:
            return
        try:
            with open(self._path, "a", encoding="utf-8") as log:
                log.write(json.dumps(values) + "\n")
            if self._events is not None:
                for name, value in values.items():
                    if name != "step" and isinstance(value, int | float):
                        self._events.add_scalar(name, value, values["step"])
        except OSError as error:
            raise UserError(code=Code.NOT_WRITABLE, subject=self._path, expected="room for the log",
                            found=error.strerror, hint="make room and go on with --resume") from None

    def time(self, seconds: float, waited: float) -> None:
        """A step took `seconds`, of which it `waited` for its data."""
        self._step += 1
        self._seconds += seconds
        self._waited += waited

    def close(self) -> None:
        """Reports the share of time spent waiting; where it is large, what helps."""
        if self._events is not None:
            # A full disk was reported when it was met.
            with contextlib.suppress(OSError):
                self._events.close()
        share = self._waited / self._seconds if self._seconds else 0.0
        self._reporter.metric(step=self._step, total_seconds=round(self._seconds, 1), waited_share=round(share, 3))
        if share > LONG_WAIT_SHARE and self._waited > LONG_WAIT_SECONDS:
            self._advise(f"{share:.0%} of the time was spent waiting for data; more 'workers' may help")

    def _advise(self, message: str) -> None:
        """Advice for who sits at a terminal. A window that reads JSON events offers neither pip nor workers: its user
        could do nothing about it, and the figures come as metrics."""
        if not isinstance(self._reporter, JsonReporter):
            self._reporter.warning(Problem(Code.SETTING_SLOW, found=message))


def _drop_later_lines(log: Path, step: int) -> None:
    """Drops what a killed run logged after its last checkpoint: it will be logged again."""
    if not log.exists():
        return
    lines = []
    for line in log.read_text(encoding="utf-8").splitlines(keepends=True):
        # The last line may have been cut off.
        if line.endswith("}\n") and json.loads(line)["step"] <= step:
            lines.append(line)
    with whole_file(log) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")
