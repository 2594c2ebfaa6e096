"""`partialorganseg check`: does a manifest describe what its files hold?"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..events import Reporter
from .options import add_common_options

HELP = "Check a manifest: files, geometry, labels and what each case claims to annotate."
EXAMPLE = "partialorganseg check manifest.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="the manifest's YAML file")
    add_common_options(parser)


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Reads every case and prints each problem in a line; 1 when there is one."""
    from ..data.manifest import check_manifest, load_manifest

    reporter.started(command="check", manifest=arguments.manifest)
    problems = check_manifest(load_manifest(arguments.manifest), reporter)
    reporter.close()
    for problem in problems:
        reporter.error(problem)
    reporter.result(manifest=arguments.manifest, problems=len(problems))
    print(f"{arguments.manifest}: {f'{len(problems)} problems' if problems else 'ok'}")
    return 1 if problems else 0
