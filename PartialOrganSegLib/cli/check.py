"""`partialorganseg check`: does a manifest describe what its files hold?"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from ..events import Reporter
from .options import add_common_options

if TYPE_CHECKING:
    from ..datasets.manifest import Manifest

HELP = "Check a manifest, or an nnU-Net raw or Decathlon folder: files, geometry, labels, what each case annotates."
EXAMPLE = "partialorganseg check manifest.yaml\n  partialorganseg check nnUNet_raw/Dataset001_Abdomen"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", type=Path, metavar="MANIFEST",
                        help="the manifest's YAML file, or a folder with a dataset.json")
    add_common_options(parser)


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Reads every case and prints each problem in a line; 1 when there is one."""
    from ..datasets.manifest import check_manifest, load_manifest

    reporter.started(command="check", manifest=arguments.manifest)
    manifest = load_manifest(arguments.manifest, reporter)
    for line in summary(manifest):
        print(line)
    problems = check_manifest(manifest, reporter)
    reporter.close()
    for problem in problems:
        reporter.error(problem)
    reporter.result(manifest=arguments.manifest, problems=len(problems))
    print(f"{arguments.manifest}: {f'{len(problems)} problems' if problems else 'ok'}")
    return 1 if problems else 0


def summary(manifest: Manifest) -> list[str]:
    """A line for each way of annotating that a data set has: its cases, kind and organs."""
    ways: Counter[tuple[str, str, tuple[str, ...]]] = Counter(
        (case.dataset, case.kind.value, case.annotated) for case in manifest.cases)
    return [f"{dataset}: {count} {kind}{': ' + ', '.join(organs) if organs and kind == 'partial' else ''}"
            for (dataset, kind, organs), count in ways.items()]
