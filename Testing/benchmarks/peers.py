"""Our way of predicting against nnU-Net's own predictor and MONAI's sliding window, with the same weights.

    NNUNET_PYTHON=/path/to/python-with-nnunetv2 python Testing/benchmarks/peers.py \\
        ../shared/data/ct/crlm_1004/image.nii.gz --json Resources/figures/speed_predictors.json

The weights are those of the embedded model's first network. Every measurement is a fresh process from the
interpreter's start to the written labels, in turns: `ours` is `segment --no-preview` with that network alone, `nnunet`
is nnUNetPredictor on the CPU as it comes (float32, its windows, its resampling), `monai` is SlidingWindowInferer
(half overlap, Gaussian weights) around our own network in our precision, with our reading, resampling and writing
around it, so that nothing but the inferer differs. Agreement is the mean Dice between ours and theirs over organs.
Peers whose package is missing are left out. Processor time, with `--threads` threads, is what neighbours change least.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from PartialOrganSegLib.formats.reading import read_ct
from PartialOrganSegLib.models.bundle import Bundle, load_bundle
from Testing.helpers.figure_rows import keep_rows
from Testing.helpers.nnunet_export import write_nnunet_folder
from Testing.helpers.process_cost import Cost, cost_of
from Testing.helpers.repository import ROOT

NNUNET = os.environ.get("NNUNET_PYTHON")
MEMBER = "hk13-dense"


def write_as_trained(ct: Path, target: Path) -> None:
    """The CT listed as the network sees it (z downwards, y to the front), which nnU-Net does not turn by itself."""
    volume = read_ct(ct).canonical()
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array[::-1, ::-1]))
    image.SetSpacing(volume.grid.spacing)
    sitk.WriteImage(image, str(target))


def run_monai(ct: Path, output: Path) -> None:
    """Segments with MONAI's inferer and our own reading, resampling, network and writing."""
    import torch
    from monai.inferers import SlidingWindowInferer

    from PartialOrganSegLib.formats.writing import write_labelmap
    from PartialOrganSegLib.imaging.volume import Volume
    from PartialOrganSegLib.segmenting.bundle_predictor import BundlePredictor
    from PartialOrganSegLib.segmenting.patient import finish, locate

    bundle = member()
    predictor = BundlePredictor(bundle, torch.device("cpu"), mirror=False, scales=(1.0,))
    volume, seconds = read_ct(ct), {}
    patient = locate(volume, seconds)
    grid = patient.working_grid(predictor.spacing_zyx)
    inferer = SlidingWindowInferer(bundle.preprocessing.patch_zyx, sw_batch_size=1, overlap=0.5, mode="gaussian",
                                   padding_mode="constant", cval=bundle.preprocessing.padding)

    def network(window: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", predictor.precision, enabled=predictor.precision != torch.float32):
            logits: torch.Tensor = predictor.network(window.contiguous(memory_format=torch.channels_last_3d))
        return logits

    with torch.inference_mode():
        data = bundle.preprocessing.normalise(grid.read(patient.canonical.array))
        logits = inferer(data[None, None], network)[0]
        scores = logits.permute(1, 2, 3, 0).half().contiguous()
        del logits
        written = np.arange(bundle.label_space.class_count, dtype=np.uint8)
        labels, _ = finish(scores, patient, grid, bundle.label_space, written, seconds)
    write_labelmap(output, Volume(labels, volume.grid))


def member() -> Bundle:
    """The embedded model's first network."""
    return next(one.bundle for one in load_bundle("embedded").members if one.bundle.name == MEMBER)


def mean_dice(ours: np.ndarray, theirs: np.ndarray, classes: int) -> float:
    """Mean Dice over the organs that either has."""
    scores = []
    for organ in range(1, classes):
        first, second = ours == organ, theirs == organ
        total = int(first.sum() + second.sum())
        if total:
            scores.append(2 * int((first & second).sum()) / total)
    return float(np.mean(scores))


def commands(ct: Path, scratch: Path, bundle_folder: Path) -> dict[str, tuple[list[str], Path]]:
    """Who is measured: the command, and the label map that it writes."""
    ours = [sys.executable, "-m", "PartialOrganSegLib", "segment", str(ct), "--device", "cpu", "--no-preview",
            "--overwrite", "--model", str(bundle_folder), "-o", str(scratch / "ours.nii.gz")]
    runs = {"ours": (ours, scratch / "ours.nii.gz"),
            "monai": ([sys.executable, __file__, str(ct), "--child", str(scratch / "monai.nii.gz")],
                      scratch / "monai.nii.gz")}
    if NNUNET:
        (scratch / "images").mkdir()
        write_as_trained(ct, scratch / "images/ct_0000.nii.gz")
        peer = [NNUNET, str(ROOT / "Testing/peers/nnunet_peer.py"), "predict", str(scratch / "nnunet"),
                str(scratch / "images"), str(scratch / "theirs")]
        runs["nnunet"] = (peer, scratch / "theirs/ct.nii.gz")
    return runs


def main() -> None:
    """Prints and keeps the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct", type=Path)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--busy", action="store_true", help="other programs ran meanwhile")
    parser.add_argument("--only", nargs="+", choices=["monai", "nnunet"], default=["monai", "nnunet"])
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to keep the table as well")
    parser.add_argument("--child", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        run_monai(arguments.ct, arguments.child)
        return
    bundle = member()
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        write_nnunet_folder(bundle, scratch / "nnunet")
        runs = {who: run for who, run in commands(arguments.ct, scratch, bundle.folder).items()
                if who in ("ours", *arguments.only)}
        costs: dict[str, list[Cost]] = {who: [] for who in runs}
        for _ in range(arguments.repeats):
            for who, (command, _) in runs.items():
                costs[who].append(cost_of(command, scratch / "log", {"OMP_NUM_THREADS": str(arguments.threads)}))
        labels = {who: sitk.GetArrayFromImage(sitk.ReadImage(str(file))) for who, (_, file) in runs.items()}
    if "nnunet" in labels:
        order = read_ct(arguments.ct).grid.axis_order()
        # What is counted as another class is a class of its own there.
        renamed = np.array([*range(bundle.label_space.class_count), *bundle.network_arguments["more"]], np.uint8)
        labels["nnunet"] = order.from_canonical(renamed[labels["nnunet"]][::-1, ::-1])
    rows = []
    for who in runs:
        if who == "ours":
            continue
        ratios = np.array(costs["ours"]) / np.array(costs[who])
        medians = np.median(ratios, axis=0)
        ours, theirs = np.median(costs["ours"], axis=0), np.median(costs[who], axis=0)
        rows.append({"peer": who, "ct": arguments.ct.parent.name, "date": datetime.date.today().isoformat(),
                     "repeats": arguments.repeats, "threads": arguments.threads, "busy": arguments.busy,
                     "ours_s": round(float(ours[0]), 1), "peer_s": round(float(theirs[0]), 1),
                     "time_ratio": round(float(medians[0]), 3), "time_ratios": np.round(ratios[:, 0], 3).tolist(),
                     "ours_cpu_s": round(float(ours[1]), 1), "peer_cpu_s": round(float(theirs[1]), 1),
                     "cpu_ratio": round(float(medians[1]), 3), "cpu_ratios": np.round(ratios[:, 1], 3).tolist(),
                     "ours_mib": round(float(ours[2])), "peer_mib": round(float(theirs[2])),
                     "memory_ratio": round(float(medians[2]), 3),
                     "dice": round(mean_dice(labels["ours"], labels[who], bundle.label_space.class_count), 4)})
        print(json.dumps(rows[-1]), flush=True)
    if arguments.json:
        keep_rows(arguments.json, rows, ("peer", "ct", "threads"))


if __name__ == "__main__":
    main()
