"""`partialorganseg train`: trains by a recipe into a run folder with checkpoints and, at the end, a model bundle."""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Code, Problem, UserError, one_line
from ..events import Reporter
from .options import add_common_options, add_device_option
from .resume_line import ending_with_resume_line

if TYPE_CHECKING:
    from ..training.recipe import Recipe

HELP = "Train a network by a recipe."
EXAMPLE = """partialorganseg train partialorganseg -o runs/first --set manifest=my/manifest.yaml
  partialorganseg train partialorganseg -o runs/first --set manifest=my/manifest.yaml --resume
  partialorganseg train full -o runs/folds --folds 5 --set manifest=my/manifest.yaml
  torchrun --nproc-per-node 4 -m PartialOrganSegLib train full -o runs/full --set manifest=my/manifest.yaml"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE",
                        help="a recipe's YAML file, or the name of a shipped recipe")
    parser.add_argument("-o", "--output", type=Path, metavar="RUN", help="run folder (default: runs/NAME-OF-RECIPE)")
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint in the run folder")
    parser.add_argument("--folds", type=int, default=None, metavar="N",
                        help="train N networks, each without one N-th of the patients, which it is validated on, and "
                             "make an ensemble of them; takes N times as long")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
                        help="change one setting of the recipe; may be repeated")
    add_device_option(parser)
    add_common_options(parser)


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Trains to the recipe's end. Raises UserError for a wrong recipe before anything is written."""
    from ..training.packages import require_packages
    from ..training.recipe import RECIPE_FILE, load_recipe

    recipe = load_recipe(arguments.recipe, arguments.overrides)
    _check_overrides(recipe, arguments.overrides, reporter)
    run_folder = arguments.output or Path("runs") / arguments.recipe.stem
    copy = run_folder / RECIPE_FILE  # with every setting resolved, but without the user's comments
    if not arguments.resume and copy.exists() and arguments.recipe.exists() and copy.samefile(arguments.recipe):
        raise UserError(code=Code.SETTINGS_CONFLICT, subject=run_folder,
                        expected="a run folder apart from the recipe, which the run would write over",
                        hint="choose another -o")
    require_packages("train")
    from ..training.curve import write_curve
    from ..training.trainer import train

    carry_out: Callable[..., object] = train
    if arguments.folds is not None:
        from ..training.folds import train_folds

        carry_out = functools.partial(train_folds, count=arguments.folds)
    if os.environ.get("RANK", "0") != "0":  # of several processes (torchrun) only the first reports
        carry_out(recipe, run_folder, arguments.resume, arguments.device)
        return 0
    reporter.started(command="train", recipe=arguments.recipe, run=run_folder, resume=arguments.resume,
                     device=arguments.device)
    words = [str(arguments.recipe)]
    if arguments.folds is not None:
        words += ["--folds", str(arguments.folds)]
    for override in arguments.overrides:
        words += ["--set", override]
    with ending_with_resume_line("train", run_folder, *words):
        carry_out(recipe, run_folder, arguments.resume, arguments.device, reporter)
    # An ensemble's folder has no log of its own, its folds have.
    write_curve(run_folder)
    reporter.result(run=run_folder)
    print(one_line(f"run folder: {run_folder}"))
    return 0


def _check_overrides(recipe: Recipe, overrides: Sequence[str], reporter: Reporter) -> None:
    """Warns of steps that stages have of their own. Raises UserError for a shipped recipe without the user's cases."""
    from ..resources import resource

    if recipe.manifest.parent == resource("recipes"):
        raise UserError(code=Code.SETTING_MISSING, subject="manifest", expected="the manifest of your cases",
                        found="none", hint="--set manifest=FILE names it")
    if recipe.stages and any(override.partition("=")[0].strip() == "steps" for override in overrides):
        reporter.warning(Problem(Code.SETTING_IGNORED, "steps", found="the recipe's stages have steps of their own",
                                 hint="--set stages=[] trains in one stage"))
