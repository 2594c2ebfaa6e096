"""What a fine-tuning run sets out to do: written before it starts, read when it goes on and when it is evaluated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ..atomic import whole_file
from ..errors import Code, UserError
from ..json_file import read_json
from ..models.metadata import Lineage
from .measured_on import MeasuredOn

PLAN_FILE = "plan.json"


class TimePlan(BaseModel):
    """The time of a run that has a limit: seconds for the whole training, `steps`, measurements of Dice on the way with
    the last, how long one takes, and how many `trials` of alpha, a measurement each, follow. `looking_seconds`: set
    aside for what follows the training; `step_seconds`: of a step, when that was worked out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: float
    steps: int
    measurements: int
    measurement_seconds: float
    trials: int
    looking_seconds: float = 0.0
    step_seconds: float = 0.0


class Plan(BaseModel):
    """A run's plan.

    `start` is the start model's folder and `data` the manifest; `measured_on` says for each organ whose Dice is
    measured on what; `minutes` is how long it is expected to take. `warnings`: those about the cases, as in JSON events
    (texts in plans of version 0.3); the file has them as "said". `images`: the checksum of every one that is trained or
    measured on. `patients`: of the real CTs that are measured on, the image file to its patient. `looked_at`: CTs that
    both models segment in the end, with their checksums, for what no mask shows. `take_new`: the new model is selected
    whatever the verdict. `time`: None where the user set the number of steps. `asked_minutes`: that the run may take;
    `preparing_seconds`: of them are spent when training begins.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    start: Path
    data: Path
    lineage: Lineage
    changed: list[str]
    kept: list[str]
    measured_on: dict[str, Annotated[MeasuredOn, BeforeValidator(MeasuredOn.of)]]
    steps: int
    minutes: float
    warnings: list[dict[str, Any] | str] = Field(default=[], alias="said")
    images: dict[Path, str] = {}
    patients: dict[Path, str] = {}
    looked_at: dict[Path, str] = {}
    take_new: bool = False
    time: TimePlan | None = None
    asked_minutes: float | None = None
    preparing_seconds: float = 0.0


def write_plan(run: Path, plan: Plan) -> None:
    """Writes `RUN/plan.json` whole."""
    write_json(run / PLAN_FILE, plan.model_dump(mode="json", by_alias=True))


def read_plan(run: Path) -> Plan:
    """The plan of a run folder. Raises UserError when there is no sound one."""
    path = run / PLAN_FILE
    try:
        return Plan.model_validate(read_json(path, "the plan of a run"))
    except FileNotFoundError:
        raise UserError(code=Code.NO_CHECKPOINT, subject=path, expected="the plan of a run to resume",
                        found="none", hint="start without --resume") from None
    except (OSError, ValueError, ValidationError) as error:
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="the plan of a run",
                        found=" ".join(str(error).split())[:200]) from None


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Writes a JSON file whole."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
