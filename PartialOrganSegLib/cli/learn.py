"""`partialorganseg learn`: from a folder of CTs and what was drawn on some of them to a checked model and one page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Code, UsageError, one_line
from ..events import JsonReporter, Reporter
from ..learning import Beside
from .finetune import check_name
from .options import ALL, add_common_options, add_device_option, name_list, organs_or_all, positive
from .resume_line import command_line

if TYPE_CHECKING:
    from ..learning.plan import Plan
    from ..learning.run import LearnOptions, LearnResult

HELP = ("Teach a model from a folder: pair its CTs with what was drawn on them, train, check, and write one page that "
        "says what came of it.")
EXAMPLE = """partialorganseg learn my-cts
  partialorganseg learn my-cts --annotated liver,spleen --minutes 20
  partialorganseg learn my-cts --label-map 1=prostate --new-organ prostate --yes
  partialorganseg learn my-cts --resume"""
# What was decided when the run began; --resume takes it from its folder.
_RUN_OPTIONS = ("model", "minutes", "annotated", "new_organ", "label_map", "leave_out", "validate", "beside", "name",
                "force")
_YES = ("", "y", "yes", "j", "ja")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER",
                        help="CTs (files or DICOM folders) with masks, label maps, strokes, structure sets or "
                             "segmentations in it or below it; CTs on which nothing was drawn may be among them")
    parser.add_argument("-o", "--output", type=Path, metavar="OUT",
                        help="folder for the results (default: FOLDER/learnt)")
    parser.add_argument("--model", metavar="NAME|FOLDER", help="the model to start from (default: embedded)")
    parser.add_argument("--minutes", type=positive("minutes"), metavar="MIN",
                        help="how long to train (default: 12, on a GPU 1.5); looking at the CTs before and after comes "
                             "on top of it")
    parser.add_argument("--annotated", type=organs_or_all, metavar="A,B|all",
                        help="learn only these organs (default: all that the files show)")
    parser.add_argument("--new-organ", action="append", metavar="NAME",
                        help="an organ that no model here knows; may be repeated")
    parser.add_argument("--label-map", metavar="1=A,2=B|NAME|FILE",
                        help="what the values of label maps mean: a list, a known one such as word16, or a table")
    parser.add_argument("--leave-out", action="append", metavar="PATTERN",
                        help='files or folders that do not count, such as "*_old*"; may be repeated')
    parser.add_argument("--validate", type=name_list, metavar="CASE,CASE|none",
                        help="cases to measure on instead of learning from them (default: as finetune)")
    parser.add_argument("--beside", choices=[choice.value for choice in Beside],
                        help="leave the start model whole and train a copy of its network beside it, which answers for "
                             "what you drew alone; segmenting asks a network more (default: where an organ is new)")
    parser.add_argument("--name", help="the new model's name")
    parser.add_argument("--force", action="store_true", help="also learn from images that do not look like a CT in HU")
    parser.add_argument("--yes", action="store_true", help="do not ask whether the table is right")
    parser.add_argument("--install", action="store_true", help="install missing packages without asking")
    parser.add_argument("--resume", action="store_true",
                        help="go on with an earlier run, or with its manifest after you have changed it")
    add_device_option(parser)
    add_common_options(parser)


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Plans, shows the plan, trains, compares. 0 also where the start model stays the better one; 1 for bad cases."""
    from ..learning.run import carry_out, check, default_output, prepare, require_begun
    from ..training.packages import missing_packages

    _check_use(arguments)
    output = arguments.output or default_output(arguments.folder)
    reporter.started(command="learn", folder=arguments.folder, output=output, resume=arguments.resume,
                     device=arguments.device)
    ask = _ask if _is_asked(reporter) else None
    if arguments.resume:
        require_begun(arguments.folder, output)
    else:
        plan = prepare(arguments.folder, output, _options(arguments), ask, reporter)
        reporter.close()
        _show(plan, reporter)
    problems = check(output, reporter)
    reporter.close()
    for problem in problems:
        reporter.error(problem)
    if problems:
        print(f"{len(problems)} problems: mend the files, or the manifest and add --resume", file=sys.stderr)
        return 1
    if not arguments.resume and not arguments.yes and not _confirmed(ask, output, arguments):
        return 0
    _look_for_packages(missing_packages(), ask, arguments.install)
    result = carry_out(output, arguments.device, reporter)
    reporter.close()
    _report(result, reporter)
    return 0


def resume_line(arguments: argparse.Namespace) -> str:
    """What goes on with a run that was ended; empty where nothing was begun."""
    from ..learning.run import default_output
    from ..learning.survey import STATE_FILE

    if not ((arguments.output or default_output(arguments.folder)) / STATE_FILE).is_file():
        return ""
    words = ["partialorganseg", "learn", str(arguments.folder)]
    if arguments.output is not None:
        words += ["-o", str(arguments.output)]
    return command_line([*words, "--resume"])


def _check_use(arguments: argparse.Namespace) -> None:
    """Raises UsageError for options that do not go together."""
    if arguments.name is not None:
        check_name(arguments.name)
    if not arguments.resume:
        return
    options = [f"--{name.replace('_', '-')}" for name in _RUN_OPTIONS if getattr(arguments, name)]
    if options:
        raise UsageError(code=Code.SETTINGS_CONFLICT, subject="--resume",
                         expected="only FOLDER, -o and --device beside it",
                         found=f"{', '.join(options)} (decided when the run began)")


def _options(arguments: argparse.Namespace) -> LearnOptions:
    from ..finetuning.options import FinetuneOptions
    from ..learning.plan import FolderOptions
    from ..learning.run import LearnOptions

    annotated = None if arguments.annotated == [ALL] else arguments.annotated
    folder = FolderOptions(annotated, arguments.new_organ or (), arguments.label_map,
                           arguments.leave_out or ())
    finetuning = FinetuneOptions(minutes=arguments.minutes, validate=arguments.validate or (), name=arguments.name,
                                 force=arguments.force)
    beside = Beside.NEW if arguments.beside is None else Beside(arguments.beside)
    return LearnOptions(arguments.model or "embedded", folder, finetuning, beside)


def _is_asked(reporter: Reporter) -> bool:
    """Whether a person sits at a terminal: a window that reads events, and a script, answer nothing."""
    return not isinstance(reporter, JsonReporter) and sys.stdin.isatty() and sys.stderr.isatty()


def _ask(question: str) -> str:
    print(one_line(question), end="", file=sys.stderr, flush=True)
    # The end of the input, Ctrl-D, is no answer.
    return sys.stdin.readline().strip()


def _show(plan: Plan, reporter: Reporter) -> None:
    """The table that the user confirms, and what is left out."""
    from ..formats.writing import format_table

    rows = plan.rows()
    reporter.result(manifest=plan.manifest, cases=rows, new_organs=plan.new_organs,
                    left_out=[problem.as_event() for problem in plan.left_out])
    print(format_table(rows))
    if plan.new_organs:
        print(f"new organs: {', '.join(plan.new_organs)}")
    for problem in plan.left_out:
        reporter.warning(problem.within("left out"))
    print(one_line(f"manifest: {plan.manifest}"), flush=True)


def _confirmed(ask: object, output: Path, arguments: argparse.Namespace) -> bool:
    """Whether the user says that the table is right. Raises UsageError where nobody can be asked."""
    line = resume_line(arguments)
    if ask is None:
        raise UsageError(code=Code.SETTING_MISSING, subject="--yes", expected="it where nobody can be asked",
                         found="none", hint=f"look at the table, then: {line}")
    answer = _ask("Is that right? Training starts then. [Y/n] ").lower()
    if answer in _YES:
        return True
    print(one_line(f"Nothing was trained. Change {output / 'manifest.yaml'}, then: {line}"))
    return False


def _look_for_packages(missing: list[str], ask: object, may_install: bool) -> None:
    """Installs missing packages where the user wants it. Raises UserError, with the line, where not."""
    from ..training.packages import install, pip_line, require_packages

    if not missing:
        return
    if ask is not None and not may_install:
        may_install = _ask(f"Training needs {', '.join(missing)}. Install it now ({pip_line(missing)})? [Y/n] "
                           ).lower() in _YES
    if not may_install:
        require_packages("learn")
    print(f"installing {', '.join(missing)}, which takes a minute", file=sys.stderr, flush=True)
    install(missing)


def _report(result: LearnResult, reporter: Reporter) -> None:
    """The figures before and after, the verdict, and where everything lies."""
    from ..formats.writing import format_table

    figures = result.figures
    reporter.result(page=result.page, model=result.model, selected=figures.get("selected"),
                    selected_model=result.selected, reason=figures.get("reason"), dice=figures.get("dice"))
    rows = []
    for organ, values in dict(figures.get("dice", {})).items():
        interval = ""
        if values.get("low") is not None:
            interval = f"{values['low']:+.3f} to {values['high']:+.3f}"
        rows.append({"organ": organ, "": values["group"], "before": f"{values['before']:.3f}",
                     "after": f"{values['after']:.3f}", "change": f"{values['after'] - values['before']:+.3f}",
                     "95 % interval": interval, "measured on": values["measured_on"]})
    if rows:
        print(format_table(rows))
    minutes = dict(figures.get("minutes", {}))
    if minutes.get("asked"):
        print(f"used: {minutes['used']:.1f} of {minutes['asked']:g} minutes (preparing {minutes['preparing']:.1f}, "
              f"training {minutes['training']:.1f}, comparing {minutes['comparing']:.1f})")
    print(one_line(f"verdict: {figures.get('reason', '')}"))
    print(one_line(f"selected: {result.selected}"))
    print(one_line(f"page: {result.page}"), flush=True)
