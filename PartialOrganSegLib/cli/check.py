"""`partialorganseg check`: does a manifest describe what its files hold?"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import one_line
from ..events import Reporter
from .options import add_common_options

if TYPE_CHECKING:
    from ..datasets.manifest import Manifest

HELP = ("Check a manifest, or an nnU-Net raw or Decathlon folder: files, geometry, labels, and the organs that each "
        "case annotates.")
EXAMPLE = "partialorganseg check manifest.yaml\n  partialorganseg check nnUNet_raw/Dataset001_Abdomen"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", type=Path, metavar="MANIFEST",
                        help="the manifest's YAML file, or a folder with a dataset.json")
    add_common_options(parser)


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Reads every case and prints a line for each problem; 1 if there is any."""
    from ..datasets.manifest import check_manifest, load_manifest

    reporter.started(command="check", manifest=arguments.manifest)
    manifest = load_manifest(arguments.manifest, reporter)
    for line in summary(manifest):
        print(one_line(line))
    # All problems are collected first, so that they stand together below the summary and the warnings.
    problems = check_manifest(manifest, reporter, doubt_images=True)
    reporter.close()
    for problem in problems:
        reporter.error(problem)
    reporter.result(manifest=arguments.manifest, problems=len(problems))
    verdict = "ok"
    if problems:
        verdict = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    print(one_line(f"{arguments.manifest}: {verdict}"))
    return int(bool(problems))


def summary(manifest: Manifest) -> list[str]:
    """A line for each way of annotating that a data set has: its cases, kind and organs."""
    from ..annotation import Kind

    ways: Counter[tuple[str, str, tuple[str, ...]]] = Counter()
    for case in manifest.cases:
        organs = case.annotated if case.kind is Kind.PARTIAL else ()  # full cases annotate all of them
        ways[case.dataset, case.kind.value, organs] += 1
    lines = []
    for (dataset, kind, organs), count in ways.items():
        line = f"{dataset}: {count} {kind}"
        if organs:
            line += f": {', '.join(organs)}"
        lines.append(line)
    return lines
