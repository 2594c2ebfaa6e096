"""`partialorganseg finetune`: makes a better model from a trained one and a few cases of any annotation, in minutes."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Code, UsageError, did_you_mean
from ..events import Reporter
from ..finetuning import PHANTOMS, REPLAY_WORDS
from .options import add_common_options, add_device_option, name_list, positive
from .resume_line import ending_with_resume_line

if TYPE_CHECKING:
    from ..finetuning.run import Result

HELP = ("Fine-tune a model on cases of any annotation (accepted organs, strokes, full masks, images alone) without "
        "forgetting its organs.")
# What these options decide was decided when the run began; --resume takes it from the run folder.
RUN_OPTIONS = ("model", "data", "minutes", "steps", "replay", "validate", "only_listed_organs", "name", "force",
               "take_new", "beside", "recipe", "overrides")
# Days of work; more is a slip of the finger.
STEP_LIMIT = 1_000_000
EXAMPLE = """partialorganseg finetune --data mine/manifest.yaml -o runs/mine
  partialorganseg finetune --model runs/mine/model --data more/manifest.yaml -o runs/more --minutes 5
  partialorganseg finetune -o runs/mine --resume"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="NAME|FOLDER", help="the model to start from (default: embedded)")
    parser.add_argument("--data", type=Path, metavar="MANIFEST", help="the manifest of the cases, or a folder with a "
                        "dataset.json")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="RUN", help="run folder")
    parser.add_argument("--minutes", type=positive("minutes"), metavar="MIN",
                        help="time limit in minutes (default: 12, on a GPU 1.5); the expected time is printed first")
    parser.add_argument("--steps", type=int, metavar="N", help="number of optimiser steps, instead of --minutes")
    parser.add_argument("--replay", metavar="phantoms|none|MANIFEST",
                        help="cases to replay, so that the model does not forget its organs (default: "
                             "synthetic ones)")
    parser.add_argument("--validate", type=name_list, default=(), metavar="CASE,CASE|none",
                        help="cases to validate on instead of training on them (default: a quarter of the cases; of "
                             "few cases, some slabs)")
    parser.add_argument("--only-listed-organs", action="store_true",
                        help="the new model segments only the manifest's organs (default: they are added)")
    parser.add_argument("--take-new", action="store_true",
                        help="select the new model also where it is not found to be better")
    parser.add_argument("--beside", action="store_true",
                        help="leave the start model whole and train a copy of its network beside it, for what the "
                             "cases show alone: nothing else changes, and segmenting asks a network more")
    parser.add_argument("--name",
                        help="the new model's name (default: the start model's, with -finetuned or -finetuned-2)")
    parser.add_argument("--force", action="store_true", help="also learn from images that do not look like a CT in HU")
    parser.add_argument("--recipe", type=Path, metavar="FILE", help="a recipe instead of the shipped finetune.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
                        help="change one setting of the recipe; may be repeated")
    parser.add_argument("--resume", action="store_true", help="continue the run in the run folder, as it was planned")
    add_device_option(parser)
    add_common_options(parser)


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Fine-tunes and prints Dice before and after. 0 also if the start model remains the better one."""
    from ..training.packages import require_packages

    _check_use(arguments)
    require_packages("finetune")
    reporter.started(command="finetune", model=arguments.model, data=arguments.data, run=arguments.output,
                     resume=arguments.resume, device=arguments.device)
    with ending_with_resume_line("finetune", arguments.output):
        result = _result(arguments, reporter)
    reporter.close()
    _report(result, arguments.output, reporter)
    _write_curve(arguments.output, result)
    return 0


def _write_curve(run: Path, result: Result) -> None:
    from ..training.curve import write_curve

    write_curve(run, [row.organ for row in result.outcome.rows])

def _result(arguments: argparse.Namespace, reporter: Reporter) -> Result:
    from ..finetuning.options import FinetuneOptions
    from ..finetuning.run import finetune, resume

    if arguments.resume:
        return resume(arguments.output, arguments.device, reporter)
    options = FinetuneOptions(arguments.minutes, arguments.steps, arguments.replay or PHANTOMS,
                              arguments.validate, arguments.only_listed_organs, arguments.force, arguments.name,
                              arguments.overrides, arguments.take_new, arguments.beside)
    return finetune(arguments.model or "embedded", arguments.data, arguments.output, arguments.device, options,
                    arguments.recipe, reporter)


def _check_use(arguments: argparse.Namespace) -> None:
    """Raises UsageError for options that do not go together and for values that cannot be."""
    if arguments.resume:
        _check_resume(arguments)
    if not arguments.resume and arguments.data is None:
        raise UsageError(code=Code.SETTING_MISSING, subject="--data", expected="a manifest", found="none")
    if arguments.steps is not None and not 1 <= arguments.steps <= STEP_LIMIT:
        raise UsageError(code=Code.VALUE_OUT_OF_RANGE, subject="--steps", expected=f"a number from 1 to {STEP_LIMIT}",
                         found=arguments.steps)
    if arguments.name is not None:
        check_name(arguments.name)
    if arguments.replay not in (None, *REPLAY_WORDS) and not os.path.exists(arguments.replay):
        raise UsageError(code=Code.UNKNOWN_NAME, subject="--replay",
                         expected=f"{', '.join(REPLAY_WORDS)} or a manifest", found=f"'{arguments.replay}'",
                         hint=did_you_mean(arguments.replay, REPLAY_WORDS))


def _check_resume(arguments: argparse.Namespace) -> None:
    """Raises UsageError for an option that the run has decided already."""
    options = []
    for name in RUN_OPTIONS:
        if getattr(arguments, name):
            options.append("--set" if name == "overrides" else f"--{name.replace('_', '-')}")
    if options:
        raise UsageError(code=Code.SETTINGS_CONFLICT, subject="--resume", expected="only -o RUN and --device beside it",
                         found=f"{', '.join(options)} (decided when the run began)")


def check_name(name: str) -> None:
    """Raises UsageError for what cannot be a model's name."""
    from ..models.folders import LONGEST_NAME, NAME_PATTERN

    if not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(code=Code.NAME_UNFIT, subject="--name",
                         expected=f"at most {LONGEST_NAME} of a-z, A-Z, 0-9, '.', '_' and '-', a letter or digit "
                                  "first", found=f"'{name}'")


def _report(result: Result, run: Path, reporter: Reporter) -> None:
    """Prints the figures before and after, why the start model was kept if it was, and the selected model."""
    from ..finetuning.outcome import table
    from ..finetuning.verdict import VerdictKind
    from ..formats.writing import format_table

    outcome = result.outcome
    reporter.result(run=run, model=result.bundle.folder, selected=outcome.selected, selected_model=result.selected,
                    **{key: value for key, value in outcome.as_metrics().items() if key != "selected"})
    if outcome.rows:
        print(format_table(table(outcome)))
    # Keeping the start model is no error, but the user must learn why.
    if outcome.verdict.kind is not VerdictKind.BETTER:
        reporter.warning(outcome.verdict.problem())
    else:
        print(f"the new model is the better one: {outcome.reason}")
    for warning in (*outcome.no_better(), *outcome.drift_warnings()):
        reporter.warning(warning)
    print(f"selected: {result.selected}")
