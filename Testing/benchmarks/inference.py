"""Wall time, processor time and peak memory of `partialorganseg segment` against the teacher network in onnxruntime.

    python Testing/benchmarks/inference.py ../shared/data/ct/*/image.nii.gz --repeats 3 \\
        --teacher ../shared/data/teacher/hk13.onnx --json Resources/figures/speed_peer.json

Every measurement is a fresh process, from the interpreter's start to the written files. Both take turns, so that other
load falls on both. The teacher gets the benefit of the doubt: its labels go to the native grid by nearest neighbour
and only a labelmap is written; ours writes all its files. Of several repeats the median of the pairs' ratios counts,
and their range is printed. Processor time, of all cores, is what neighbours change least.
Needs onnxruntime, and os.wait4 (Linux, macOS).
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from Testing.helpers.figure_rows import Row, keep_rows
from Testing.helpers.process_cost import cost_of

# The teacher's own settings: mm and voxels in z, y, x; HU.
SPACING = (1.97359, 1.53801, 1.53801)
PATCH = (96, 160, 160)
CLIP, SUBTRACT, DIVIDE = (-971.0, 291.0), 83.77856, 144.83893
FAST: dict[bool, list[str]] = {False: [], True: ["--fast"]}


def starts(size: int, window: int) -> list[int]:
    """First voxels of windows with half overlap."""
    last = max(0, size - window)
    return sorted({*range(0, last, window // 2), last})


def run_teacher(model: Path, ct: Path, output: Path) -> None:
    """Segments `ct` with the teacher as its own description says, and writes a labelmap of its 13 classes."""
    import onnxruntime
    import SimpleITK as sitk

    image = sitk.ReadImage(str(ct))
    array = sitk.GetArrayFromImage(sitk.DICOMOrient(image, "LPS"))
    mm = sitk.DICOMOrient(image, "LPS").GetSpacing()[::-1]
    shape = [max(1, round(n * s / t)) for n, s, t in zip(array.shape, mm, SPACING, strict=True)]
    steps = [n / m for n, m in zip(array.shape, shape, strict=True)]
    coarse = sitk.Resample(sitk.GetImageFromArray(array), shape[::-1], sitk.Transform(), sitk.sitkLinear,
                           (0.0, 0.0, 0.0), steps[::-1])
    data = (np.clip(sitk.GetArrayFromImage(coarse).astype(np.float32), *CLIP) - SUBTRACT) / DIVIDE
    data = np.ascontiguousarray(data[::-1, ::-1])
    padded = np.pad(data, [(0, max(0, p - n)) for n, p in zip(data.shape, PATCH, strict=True)], mode="edge")
    axes = [np.exp(-(((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) / 2).clip(1e-3) for n in PATCH]
    weight = np.einsum("i,j,k->ijk", *axes).astype(np.float32)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    scores = np.zeros((14, *padded.shape), np.float32)
    total = np.zeros(padded.shape, np.float32)
    for z in starts(padded.shape[0], PATCH[0]):
        for y in starts(padded.shape[1], PATCH[1]):
            for x in starts(padded.shape[2], PATCH[2]):
                box = (slice(z, z + PATCH[0]), slice(y, y + PATCH[1]), slice(x, x + PATCH[2]))
                logits = session.run(None, {"input": padded[box][None, None].astype(np.float32)})[0][0]
                scores[(slice(None), *box)] += logits * weight
                total[box] += weight
    scores /= total
    labels = np.stack([scores[:, z].argmax(0).astype(np.uint8) for z in range(scores.shape[1])])
    labels = labels[tuple(slice(n) for n in data.shape)][::-1, ::-1]
    index = [np.minimum(((np.arange(n) + 0.5) * m / n).astype(int), m - 1)
             for n, m in zip(array.shape, labels.shape, strict=True)]
    native = sitk.GetImageFromArray(np.ascontiguousarray(labels[np.ix_(*index)]))
    native.CopyInformation(sitk.DICOMOrient(image, "LPS"))
    orientation = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection())
    sitk.WriteImage(sitk.DICOMOrient(native, orientation), str(output), useCompression=True)


def print_stages(model: str, ct: Path, fast: bool) -> None:
    """Seconds of each stage of our prediction, as JSON, for a first CT in a fresh process."""
    from PartialOrganSegLib.formats.reading import read_ct
    from PartialOrganSegLib.segmenting.options import SegmentOptions
    from PartialOrganSegLib.segmenting.segmenter import Segmenter

    volume, predictor = read_ct(ct), Segmenter(SegmentOptions(model=model, fast=fast, device="cpu")).predictor
    name = f"{predictor.bundle.name} {predictor.bundle.metadata.version}"
    if fast:
        name += ", --fast"
    print(json.dumps({"model": name,
                      "size": " x ".join(map(str, volume.grid.size)), "mm": round(volume.grid.spacing[2], 2),
                      "seconds": predictor.predict(volume).seconds}))


def compare(arguments: argparse.Namespace) -> None:
    """Measures each CT and prints a table."""
    print(f"{'CT':<22}{'ours s':>8}{'teacher s':>11}{'ratio (range)':>20}{'ours MiB':>10}{'teacher MiB':>13}"
          f"{'ratio':>7}{'cpu ratio':>11}{'forward/predict':>17}")
    rows = []
    for ct in arguments.cts:
        row = measure(ct, arguments)
        rows.append(row)
        spread = f"{row['time_ratio']:.2f} ({min(row['time_ratios']):.2f}-{max(row['time_ratios']):.2f})"
        print(f"{row['ct']:<22}{row['ours_s']:>8.1f}{row['teacher_s']:>11.1f}{spread:>20}{row['ours_mib']:>10.0f}"
              f"{row['teacher_mib']:>13.0f}{row['memory_ratio']:>7.2f}{row['cpu_ratio']:>11.2f}"
              f"{row['forward_of_predict']:>17.0%}")
        print("    " + "  ".join(f"{stage} {seconds:.2f} s" for stage, seconds in row["stages"].items()), flush=True)
        # After every CT: whoever stops early keeps what there is.
        if arguments.json:
            keep_rows(arguments.json, [row], ("model", "ct"))
    columns = ("time_ratio", "cpu_ratio", "memory_ratio")
    time_ratio, cpu_ratio, memory_ratio = np.exp(np.log([[row[name] for name in columns] for row in rows]).mean(0))
    print(f"geometric mean of the teacher's: time {time_ratio:.2f}, processor time {cpu_ratio:.2f}, memory "
          f"{memory_ratio:.2f}")


def measure(ct: Path, arguments: argparse.Namespace) -> Row:
    """One CT: medians of seconds and MiB, the ratio of every pair of runs, and the stages of our prediction."""
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        log = scratch / "log"
        child = [sys.executable, __file__, str(ct), "--model", arguments.model, "--teacher", str(arguments.teacher),
                 *FAST[arguments.fast], "--child"]
        # In turns, so that a neighbour's load falls on both.
        ours, theirs = [], []
        for turn in range(arguments.repeats):
            ours.append(cost_of([sys.executable, "-m", "PartialOrganSegLib", "segment", str(ct), "--device", "cpu",
                                 "--model", arguments.model, *FAST[arguments.fast], "-o",
                                 str(scratch / f"ours{turn}")], log))
            theirs.append(cost_of([*child, "teacher", "--output", str(scratch / "labels.nii.gz")], log))
        cost_of([*child, "stages"], log)
        details = json.loads(log.read_text().splitlines()[-1])
    ratios = np.array(ours) / np.array(theirs)
    (our_s, our_cpu, our_mib), (their_s, their_cpu, their_mib) = (np.median(runs, axis=0) for runs in (ours, theirs))
    stages = details["seconds"]
    return {"model": details["model"], "ct": ct.parent.name if ct.name.startswith("image") else ct.name,
            "size": details["size"], "mm": details["mm"], "date": datetime.date.today().isoformat(),
            "repeats": arguments.repeats, "ours_s": round(our_s, 1), "teacher_s": round(their_s, 1),
            "time_ratios": np.round(ratios[:, 0], 3).tolist(), "time_ratio": round(float(np.median(ratios[:, 0])), 3),
            "ours_cpu_s": round(our_cpu, 1), "teacher_cpu_s": round(their_cpu, 1),
            "cpu_ratio": round(float(np.median(ratios[:, 1])), 3), "ours_mib": round(our_mib),
            "teacher_mib": round(their_mib),
            "memory_ratio": round(float(np.median(ratios[:, 2])), 3),
            "forward_of_predict": round(stages["forward"] / sum(stages.values()), 3),
            "stages": {stage: round(seconds, 2) for stage, seconds in stages.items()}}


def main() -> None:
    """The comparison, or one of its child processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cts", nargs="+", type=Path)
    parser.add_argument("--teacher", type=Path, required=True, help="hk13.onnx")
    parser.add_argument("--model", default="embedded", help="our model's name or bundle folder")
    parser.add_argument("--fast", action="store_true", help="ours by `segment --fast`")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to keep the table as well")
    parser.add_argument("--child", choices=["teacher", "stages"], help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child == "teacher":
        run_teacher(arguments.teacher, arguments.cts[0], arguments.output)
    elif arguments.child == "stages":
        print_stages(arguments.model, arguments.cts[0], arguments.fast)
    else:
        compare(arguments)


if __name__ == "__main__":
    main()
