"""What a fine-tuning run set out to do: written before it starts, read when it goes on and when it is judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ..atomic import whole_file
from ..errors import UserError
from ..models.metadata import Lineage

PLAN_FILE = "plan.json"


class Plan(BaseModel):
    """A run's plan.

    `start` is the start model's folder and `data` the manifest; `measured_on` says for each organ whose Dice is
    measured on what; `minutes` is how long it is expected to take. `said`: the warnings about the cases,
    as in JSON events (texts in plans of version 0.3). `images`: the checksum of every one that is trained or measured
    on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: Path
    data: Path
    lineage: Lineage
    changed: list[str]
    kept: list[str]
    measured_on: dict[str, str]
    steps: int
    minutes: float
    said: list[dict[str, Any] | str] = []
    images: dict[Path, str] = {}


def write_plan(run: Path, plan: Plan) -> None:
    """Writes `RUN/plan.json` whole."""
    write_json(run / PLAN_FILE, plan.model_dump(mode="json"))


def read_plan(run: Path) -> Plan:
    """The plan of a run folder. Raises UserError when there is no sound one."""
    path = run / PLAN_FILE
    try:
        return Plan.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"{path}: expected the plan of a run to resume, found none; start without --resume") from None
    except (OSError, ValueError, ValidationError) as error:
        raise UserError(f"{path}: expected the plan of a run, found {' '.join(str(error).split())[:200]}") from None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON file whole."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
