"""The process that corrects a CT by strokes, kept as long as somebody draws: writes the CT, asks, hands on answers."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from ..scene.ct_file import CtFile, write_ct_steps
from ..scene.label_box import Box
from ..shell.job import Job, Outcome, Progress
from ..shell.scratch import remove_file, remove_folder
from ..shell.services import Process
from ..shell.steps import Steps, counted


class CorrectionChild:
    """Of one CT. `on_ready`, `on_answer(event)` and `on_end(text)` are called while it works; none after `stop`."""

    def __init__(self, new_process: Callable[[], Process], on_ready: Callable[[], None],
                 on_answer: Callable[[dict[str, Any]], None], on_end: Callable[[str], None]) -> None:
        self._new_process, self._on_ready, self._on_answer, self._on_end = new_process, on_ready, on_answer, on_end
        self._work: Steps | Job | None = None
        self._size: list[int] = []
        self.folder: Path | None = None
        self.ready = False
        self._number = 0

    def start(self, volume: slicer.vtkMRMLScalarVolumeNode, organs: Sequence[str]) -> None:
        """`organs` are those of the label values 1, 2, ... Raises OSError."""
        self.folder = Path(tempfile.mkdtemp(prefix="partialorganseg-", dir=slicer.app.temporaryPath))
        try:
            (self.folder / "organs.yaml").write_text(json.dumps(list(organs)), encoding="utf-8")  # JSON is YAML
        except OSError:
            self.stop()
            raise
        self._size = list(volume.GetImageData().GetDimensions())
        pieces = counted(write_ct_steps(volume, self.folder / "ct.nrrd"), Progress("", 0, 1, None))
        self._work = steps = Steps(pieces, lambda _progress: None, lambda outcome: self._written(steps.value, outcome))
        steps.start()

    def _written(self, ct: CtFile | None, outcome: Outcome) -> None:
        if ct is None:
            self._end(outcome.message)
            return
        if not ct.follows_volume:  # the answers would lie on other voxels
            self._end(_("Strokes cannot correct a CT that a transform bends, or whose axes are not at right angles: "
                        "resample it first."))
            return
        self._work = job = Job(self._new_process(), lambda _progress: None, self._said, self._ended)
        job.start(["refine", str(self.folder / "ct.nrrd"), "--serve", "-o", str(self.folder), "--label-space",
                   str(self.folder / "organs.yaml"), "--force"])

    def _said(self, event: dict[str, Any]) -> None:
        if not event.get("ready"):
            self._on_answer(event)
            return
        # the copy of a patient's CT is read and not needed any more
        remove_file(self.folder / "ct.nrrd")
        if event["size"] != self._size:
            self._end(_("The CT was changed while it was written."))
            return
        self.ready = True
        self._on_ready()

    def ask(self, box: Box, labels: np.ndarray, drawn: np.ndarray, new: np.ndarray, accepted: Sequence[str]) -> int:
        """Sends a correction to be made, each array uint8 (z, y, x) of the box; gives its number. Raises OSError."""
        self._number += 1
        name = f"{self._number}.npz"
        np.savez(self.folder / name, labels=labels, drawn=drawn, new=new)
        self._work.send(json.dumps({"id": self._number, "file": name, "box": box, "accepted": list(accepted)}))
        return self._number

    def cancel(self, number: int) -> None:
        """Ends the work on a request; its answer says so."""
        self._work.send(json.dumps({"cancel": number}))

    def labels(self, event: dict[str, Any]) -> np.ndarray:
        """What an answer brings: uint8 (z, y, x) of its box. Raises OSError and ValueError."""
        with np.load(self.folder / event["file"], allow_pickle=False) as arrays:
            return arrays["labels"]

    def forget(self, number: int) -> None:
        """Removes the files of a request that is done with."""
        for name in (f"{number}.npz", f"{number}.answer.npz"):
            remove_file(self.folder / name)

    def stop(self) -> None:
        """Ends the process and removes what it had; without a word."""
        work, self._work = self._work, None
        self.ready = False
        if work is not None:
            work.kill()
        if self.folder is not None:
            remove_folder(self.folder)
            self.folder = None

    def _ended(self, outcome: Outcome) -> None:
        self._end(outcome.message or _("The process that corrects has ended."))

    def _end(self, text: str) -> None:
        self.stop()
        self._on_end(text)
