"""Where the processor time of `partialorganseg segment` goes, from the interpreter's start to the written files.

    python Testing/benchmarks/parts.py ../shared/data/ct/crlm_1004/image.nii.gz --repeats 3 \\
        --json Resources/figures/speed_parts.json

Each repeat is a fresh process that does what the command does, step by step; the share of a step is the median over
the repeats of its share in the processor time of a whole run. What the interpreter takes to start and to end is "rest".
Processor time, with one thread, is what other programs change least; `--threads 0` takes as many as cores are free.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from PartialOrganSegLib.process_settings import (
    ask_for_large_pages,
    collect_garbage_less_often,
    give_back_large_blocks,
    leave_garbage,
)
from Testing.helpers.figure_rows import keep_rows
from Testing.helpers.process_cost import cost_of


def print_parts(ct: Path, model: str, folder: Path) -> None:
    """Processor seconds of each step, as JSON, in a fresh process."""
    # As the command sets its process up.
    ask_for_large_pages()
    collect_garbage_less_often()
    give_back_large_blocks()
    seconds: dict[str, float] = {}
    last = time.process_time()

    def lap(step: str) -> None:
        nonlocal last
        seconds[step] = time.process_time() - last
        last = time.process_time()

    import torch

    lap("import torch")
    from PartialOrganSegLib.cli import segment  # noqa: F401
    from PartialOrganSegLib.formats.reading import read_ct
    from PartialOrganSegLib.formats.writing import write_labelmap, write_segmentation, write_table
    from PartialOrganSegLib.segmenting.options import SegmentOptions
    from PartialOrganSegLib.segmenting.predictor import Predictor  # noqa: F401
    from PartialOrganSegLib.segmenting.result import SegmentResult
    from PartialOrganSegLib.segmenting.segmenter import Segmenter

    lap("import the rest")
    options = SegmentOptions(model=model, device="cpu")
    segmenter = Segmenter(options)
    segmenter.prepare()
    lap("load the model")
    volume = read_ct(ct)
    lap("read the CT")
    prediction = segmenter.predictor.predict(volume)
    lap("predict")
    # Of the stages the wall times are known; with one thread these are processor times, but for other programs.
    stages = dict(prediction.seconds)
    scale = seconds.pop("predict") / sum(stages.values())
    seconds |= {stage: taken * scale for stage, taken in stages.items()}
    last = time.process_time()
    result = SegmentResult(prediction.labels, volume, segmenter.bundle, options, prediction.entropy,
                           prediction.seconds, prediction.precision)
    rows = result.rows
    lap("check organs")
    from PartialOrganSegLib.formats.preview import write_preview

    write_preview(folder / "preview.png", volume, prediction.labels, segmenter.bundle.label_space)
    lap("picture")
    write_labelmap(folder / "labels.nii.gz", prediction.labels)
    lap("label map")
    write_segmentation(folder / "labels.seg.nrrd", prediction.labels, segmenter.bundle.label_space)
    lap("segmentation")
    write_table(folder / "table.csv", rows)
    lap("table")
    print(json.dumps({"model": f"{segmenter.bundle.name} {segmenter.bundle.metadata.version}",
                      "threads": torch.get_num_threads(), "seconds": seconds}))
    leave_garbage()


def main() -> None:
    """Prints and keeps the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cts", nargs="+", type=Path)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to keep the table as well")
    parser.add_argument("--child", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        print_parts(arguments.cts[0], arguments.model, arguments.child)
        return
    environment = {} if not arguments.threads else {"OMP_NUM_THREADS": str(arguments.threads)}
    for ct in arguments.cts:
        shares: list[dict[str, float]] = []
        totals = []
        with tempfile.TemporaryDirectory() as folder_name:
            folder = Path(folder_name)
            for _ in range(arguments.repeats):
                command = [sys.executable, __file__, str(ct), "--model", arguments.model, "--child", str(folder)]
                cost = cost_of(command, folder / "log", environment)
                details = json.loads((folder / "log").read_text().splitlines()[-1])
                steps = details["seconds"]
                steps["rest"] = cost.processor_s - sum(steps.values())
                shares.append({step: taken / cost.processor_s for step, taken in steps.items()})
                totals.append(cost.processor_s)
        median = {step: round(float(np.median([one[step] for one in shares])), 4) for step in shares[0]}
        row = {"model": details["model"], "ct": ct.parent.name, "date": datetime.date.today().isoformat(),
               "repeats": arguments.repeats, "threads": arguments.threads,
               "processor_s": round(float(np.median(totals)), 2), "shares": median}
        print(f"{row['ct']}: {row['processor_s']} s of processor time")
        for step, share in sorted(median.items(), key=lambda item: -item[1]):
            print(f"    {step:<16}{share:>7.1%}{share * row['processor_s']:>8.2f} s")
        if arguments.json:
            keep_rows(arguments.json, [row], ("model", "ct", "threads"))


if __name__ == "__main__":
    main()
