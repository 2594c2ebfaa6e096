"""How time and memory of a segmentation grow with the number of voxels and of classes.

    python Testing/benchmarks/growth.py ../shared/data/ct/crlm_1004/image.nii.gz \\
        --json Resources/figures/speed_growth.json

`--over voxels`: the CT resampled (nearest voxel) to grids from 64^3 to 512x512x1200 that show the same body, so that
what grows is what a finer scanner makes; the largest also shows three times as much of the body as the others.
`--over classes`: networks of one architecture with random weights for 2, 16 and 117 organs on one CT.
Each size is a fresh process: processor seconds with one thread, and its peak memory. The run of a size is kept as soon
as it ended, and `--only` takes some sizes, so that a long run can be made in parts. docs/results/speed.md has the
picture with the exponents of power laws fitted to these points.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from Testing.helpers.figure_rows import keep_rows
from Testing.helpers.process_cost import cost_of

# Voxels along x (and y), and slices: the mm of a voxel follow from the size of the body that is shown.
GRIDS = ((64, 64), (128, 100), (256, 100), (512, 100), (512, 400), (512, 1200))
WIDTH_MM, HEIGHT_MM, TALL_MM = 400.0, 400.0, 1200.0
CLASSES = (2, 16, 117)
CHANNELS = [8, 16, 24]


def write_ct(source: Path, width: int, slices: int, target: Path) -> None:
    """A CT of `width` x `width` x `slices` voxels of the middle of `source`, repeated upwards as often as it takes."""
    from PartialOrganSegLib.formats.reading import read_ct
    from PartialOrganSegLib.formats.writing import write_ct as write
    from PartialOrganSegLib.imaging.volume import Grid, Volume

    ct = read_ct(source).canonical()
    x_mm, _, z_mm = ct.grid.spacing
    mm = WIDTH_MM / width
    tall = TALL_MM if slices > 1000 else HEIGHT_MM
    step = tall / slices
    depth, height, _ = ct.array.shape
    first = (height - WIDTH_MM / x_mm) / 2
    plane = np.clip((first + (np.arange(width) + 0.5) * mm / x_mm).astype(int), 0, height - 1)
    numbers = ((np.arange(slices) + 0.5) * step / z_mm).astype(int)
    # Up and down in turns, so that no organ ends between two slices.
    turned = numbers % (2 * depth)
    numbers = np.where(turned < depth, turned, 2 * depth - 1 - turned)
    array = ct.array[np.ix_(numbers, plane, plane)]
    write(target, Volume(array, Grid((width, width, slices), (mm, mm, step))))


def write_model(source: Path, organs: int, folder: Path) -> None:
    """A bundle of a small network with random weights that knows so many organs."""
    import torch

    from PartialOrganSegLib.models.bundle import Preprocessing
    from PartialOrganSegLib.models.bundle_writing import write_bundle
    from PartialOrganSegLib.networks import build_network
    from PartialOrganSegLib.organs import label_space_of_names

    torch.manual_seed(0)
    space = label_space_of_names("benchmark", [f"organ_{number}" for number in range(organs)])
    network = build_network("light_unet", 1, space.class_count, channels=CHANNELS)
    write_bundle(folder, network, "light_unet", {"channels": CHANNELS}, space,
                 Preprocessing((3.0, 3.0, 3.0), (-200.0, 300.0), 50.0, 100.0, (48, 96, 96)), f"organs-{organs}",
                 "1.0.0", {"code": "Apache-2.0", "weights": "random", "data": "none"}, [], {}, f"{organs} organs.")


def main() -> None:
    """Measures and keeps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct", type=Path)
    parser.add_argument("--over", choices=["voxels", "classes"], default="voxels")
    parser.add_argument("--only", type=int, nargs="+", metavar="NUMBER", help="some of the sizes, from 0 on")
    parser.add_argument("--busy", action="store_true", help="other programs ran meanwhile")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to keep the table as well")
    parser.add_argument("--write", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write is not None:
        # In a process of its own, whose memory nobody measures.
        if arguments.over == "voxels":
            write_ct(arguments.ct, *GRIDS[arguments.number], arguments.write)
        else:
            write_model(arguments.ct, CLASSES[arguments.number], arguments.write)
        return
    sizes = GRIDS if arguments.over == "voxels" else CLASSES
    for number in arguments.only or range(len(sizes)):
        with tempfile.TemporaryDirectory() as scratch_name:
            scratch = Path(scratch_name)
            made = scratch / ("ct.nii.gz" if arguments.over == "voxels" else "model")
            cost_of([sys.executable, __file__, str(arguments.ct), "--over", arguments.over, "--write", str(made),
                     "--number", str(number)], scratch / "log")
            ct, model = (made, "embedded") if arguments.over == "voxels" else (arguments.ct, str(made))
            command = [sys.executable, "-m", "PartialOrganSegLib", "segment", str(ct), "--device", "cpu", "--force",
                       "--model", model, "-o", str(scratch / "out")]
            cost = cost_of(command, scratch / "log", {"OMP_NUM_THREADS": "1"})
        if arguments.over == "voxels":
            width, slices = GRIDS[number]
            name, amount = f"{width} x {width} x {slices}", width * width * slices
        else:
            name, amount = f"{CLASSES[number]} organs", CLASSES[number]
        row = {"over": arguments.over, "size": name, "amount": amount, "date": datetime.date.today().isoformat(),
               "busy": arguments.busy, "processor_s": round(cost.processor_s, 2), "mib": round(cost.mib)}
        print(json.dumps(row), flush=True)
        if arguments.json:
            keep_rows(arguments.json, [row], ("over", "size"))


if __name__ == "__main__":
    main()
