"""What a run of `learn` was asked for: written before anything else, so that --resume goes on as it began."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from ..errors import Code, UserError
from ..finetuning.options import FinetuneOptions
from ..finetuning.plan import write_json
from ..json_file import read_json
from .survey import STATE_FILE

RUN, SEGMENTED, EVALUATION, PAGE = "run", "segmented", "evaluation", "report.html"


@dataclass(frozen=True)
class LearnState:
    """`folder`: the user's. `model`: the start model, a name or folder. `manifest_sha256` as it was written: another
    one was changed by the user. `new_organs`: those that the start model lacks. `left_out`: what does not count, and
    why. `trained_sha256`: the manifest's when the training began, empty before."""

    folder: str
    model: str
    finetuning: FinetuneOptions = field(default_factory=FinetuneOptions)
    manifest_sha256: str = ""
    new_organs: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    trained_sha256: str = ""

    def write(self, output: Path) -> None:
        """Writes OUTPUT/learn.json whole."""
        write_json(output / STATE_FILE, asdict(self))


def read_state(output: Path) -> LearnState:
    """Of an earlier `learn`. Raises UserError where there is none, or none of ours."""
    path = output / STATE_FILE
    try:
        content = read_json(path, "what a run of learn was asked for")
    except FileNotFoundError:
        raise UserError(code=Code.NO_CHECKPOINT, subject=output, expected="a run of learn to go on with",
                        found="none", hint="start without --resume") from None
    if not isinstance(content, dict) or not isinstance(content.get("folder"), str):
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="what a run of learn was asked for",
                        found="something else")
    return LearnState(content["folder"], str(content.get("model", "embedded")),
                      _finetuning(content.get("finetuning")), str(content.get("manifest_sha256", "")),
                      tuple(content.get("new_organs", ())), tuple(map(str, content.get("left_out", ()))),
                      str(content.get("trained_sha256", "")))


def _finetuning(content: object) -> FinetuneOptions:
    """The options that this version knows; those of a later one are left out."""
    if not isinstance(content, dict):
        return FinetuneOptions()
    names = {option.name for option in fields(FinetuneOptions)}
    return FinetuneOptions(**{name: value for name, value in content.items() if name in names})


def refuse_other_work(output: Path, manifest: Path) -> None:
    """Raises UserError where a new run would write over an earlier one, or over a manifest that the user changed."""
    if not output.exists():
        return
    if not output.is_dir():
        raise UserError(code=Code.FILE_EXISTS, subject=output, expected="a folder for the results", found="a file",
                        hint="choose another -o")
    if not (output / STATE_FILE).is_file():
        if any(output.iterdir()):
            raise UserError(code=Code.FILE_EXISTS, subject=output, expected="a new or empty folder for the results",
                            found="files of something else", hint="choose another -o")
        return
    if (output / RUN).exists():
        raise UserError(code=Code.FILE_EXISTS, subject=output, expected="a new folder for the results",
                        found="an earlier run", hint="add --resume or another -o")
    if manifest.is_file() and sha256_of(manifest) != read_state(output).manifest_sha256:
        raise UserError(code=Code.FILE_EXISTS, subject=manifest, expected="the manifest as it was written",
                        found="one that was changed", hint="--resume goes on with it; another -o begins anew")


def sha256_of(path: Path) -> str:
    """Of a small file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
