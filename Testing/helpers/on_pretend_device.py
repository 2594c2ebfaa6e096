"""`python -m Testing.helpers.on_pretend_device FOLDER`: fine-tunes the small start model on masks or strokes, one organ
more and phantoms beside, stopped and gone on with, and segments with what came out, on the CPU and then on the pretend
device; what each leaves lies in a folder of its name."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import PartialOrganSegLib.segmenting.backend as backend
from Testing.helpers.finetune_data import ORGANS, QUICK, ct_of, only, small_phantom, write_cases, write_start
from Testing.helpers.pretend_device import NAME, RAN, PretendTensor, register

# `choose_device` knows the devices that users have. Put in its place before others take it from there.
backend.choose_device = torch.device

import PartialOrganSegLib.finetuning.replay as replay  # noqa: E402
from PartialOrganSegLib.events import Reporter  # noqa: E402
from PartialOrganSegLib.finetuning.options import FinetuneOptions  # noqa: E402
from PartialOrganSegLib.finetuning.run import finetune, resume  # noqa: E402
from PartialOrganSegLib.formats.reading import read_ct  # noqa: E402
from PartialOrganSegLib.formats.writing import write_labelmap  # noqa: E402
from PartialOrganSegLib.segmenting.predictor import Predictor  # noqa: E402


def on_cpu(value: object) -> object:
    """A checkpoint's values as another process can read them: what a real device's tensors do on their own."""
    if isinstance(value, PretendTensor):
        return value.held
    if isinstance(value, dict):
        return {key: on_cpu(element) for key, element in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(on_cpu(element) for element in value)
    return value


class Stopper(Reporter):
    """Stops a run after its second step."""

    def progress(self, stage: str, step: int, total: int) -> None:
        if stage == "training" and step == 2:
            raise KeyboardInterrupt


def main(folder: Path) -> None:
    register()
    save = torch.save
    torch.save = lambda value, *args, **kwargs: save(on_cpu(value), *args, **kwargs)
    replay.make_phantom = small_phantom
    # The CPU first: whatever runs on the pretend device there is there by mistake.
    for device in ("cpu", NAME):
        run_on(device, folder / device)


def run_on(device: str, folder: Path) -> None:
    """Leaves the runs and the segmentations of both kinds of annotation in `folder`."""
    start = write_start(folder / "start")
    # The pretend device computes in float32 whatever is asked for; so does the CPU that it is compared with.
    overrides = [*QUICK, "half_precision=true" if device == NAME else "half_precision=false"]
    precision = "auto" if device == NAME else "float32"
    for kind in ("partial", "scribble"):
        labels = [only(ct_of(seed)[1], 2) for seed in range(3)]
        if kind == "scribble":
            for array in labels:
                array[:, ::2] = 255
        data = write_cases(folder / kind, labels, kind, label_space=[*ORGANS, "aorta"])
        run, options = folder / f"{kind} run", FinetuneOptions(steps=4, validate=["case2"], overrides=overrides)
        try:
            finetune(start.folder, data, run, device, options, None, Stopper())
        except KeyboardInterrupt:
            bundle = resume(run, device).bundle
        image = data.parent / "0_image.nii.gz"
        predictor = Predictor(bundle, device=device, precision=precision)
        write_labelmap(folder / f"{kind}.nii.gz", predictor.predict(read_ct(image)).labels)
    ran_convolutions = all(RAN[name] for name in ("aten::convolution", "aten::convolution_backward"))
    assert ran_convolutions is (device == NAME), f"{device}: {RAN}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
