"""`partialorganseg phantom`: synthetic CTs with exact labels of all organs, for trials and tests."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..errors import Code, UserError
from ..events import Reporter
from ..free_memory import free_memory
from ..outputs import all_at_once, refuse_existing, writable_folder
from .options import add_common_options, seed_number, whole_number

HELP = "Make synthetic CTs with exact labels: OUT/images/phantom_SEED.nii.gz and OUT/labels/phantom_SEED.nii.gz."
# Voxels of an axis, and millimetres of a voxel that a CT may have: beyond is a slip of the keyboard.
VOXELS, MILLIMETRES = (1, 100_000), (0.01, 100.0)
BYTES = 16  # a voxel, at least, while a phantom is made
EXAMPLE = "partialorganseg phantom -o phantoms --count 3 --shape 160,160,140 --spacing 2.5"
SHAPE, SPACING_MM = (128, 128, 128), (3.0, 3.0, 3.0)
Number = TypeVar("Number", int, float)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder for images and labels")
    parser.add_argument("--shape", type=_triple_of(int, *VOXELS), default=SHAPE, metavar="X,Y,Z",
                        help="number of voxels along x, y and z, or one number for all three (default: 128)")
    parser.add_argument("--spacing", type=_triple_of(float, *MILLIMETRES), default=SPACING_MM, metavar="X,Y,Z",
                        help="voxel spacing in mm along x, y and z, or one number for all three (default: 3)")
    parser.add_argument("--seed", type=seed_number, default=0, help="the same seed makes the same phantom (default: 0)")
    parser.add_argument("--count", type=whole_number, default=1,
                        help="how many phantoms, with seeds counting up (default: 1)")
    parser.add_argument("--overwrite", action="store_true", help="replace phantoms of an earlier run")
    add_common_options(parser)


def _triple_of(number: Callable[[str], Number], lowest: float,
               highest: float) -> Callable[[str], tuple[Number, Number, Number]]:
    """The type of an option that takes three numbers with commas between, or one that stands for all three."""
    def triple(text: str) -> tuple[Number, Number, Number]:
        try:
            values = [number(part) for part in text.split(",")]
        except ValueError:
            values = []
        if len(values) == 1:
            values *= 3
        if len(values) != 3 or not all(lowest <= value <= highest for value in values):
            raise argparse.ArgumentTypeError(f"expected one or three numbers from {lowest:g} to {highest:g}, like "
                                             f"128,128,96, found '{text}'")
        return values[0], values[1], values[2]

    return triple


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Makes the phantoms; the image and the labels of each appear whole."""
    from ..formats.writing import write_ct, write_labelmap
    from ..synthesis.phantom import make_phantom

    needed, free = BYTES * math.prod(arguments.shape), free_memory()
    if needed > free:
        raise UserError(code=Code.NO_MEMORY, subject="--shape", expected=f"at most {free // BYTES} voxels, for which "
                        "there is memory", found=math.prod(arguments.shape))
    folders = [writable_folder(arguments.output / part) for part in ("images", "labels")]
    seeds = range(arguments.seed, arguments.seed + arguments.count)
    names = [f"phantom_{seed}.nii.gz" for seed in seeds]
    refuse_existing([folder / name for name in names for folder in folders], arguments.overwrite)
    reporter.started(command="phantom", output=arguments.output, count=arguments.count)
    for number, (seed, name) in enumerate(zip(seeds, names, strict=True), 1):
        ct, labels = make_phantom(shape_zyx=arguments.shape[::-1], spacing_zyx=arguments.spacing[::-1], seed=seed)
        # The labels' folder is left last, so that an image without its labels is the most that a kill leaves.
        with all_at_once(folders[1]) as scratch_labels, all_at_once(folders[0]) as scratch_images:
            write_labelmap(scratch_labels / name, labels)
            write_ct(scratch_images / name, ct)
        reporter.progress("phantoms", number, arguments.count)
        reporter.result(image=folders[0] / name, labels=folders[1] / name, seed=seed)
        print(f"{folders[0] / name}  {folders[1] / name}")
    return 0
