"""`partialorganseg doctor`: does this machine have everything that segmenting needs? A line for each finding."""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from .. import logfile
from ..errors import UserError
from ..events import Reporter
from ..outputs import writable_folder
from .options import add_common_options, add_device_option

HELP = "Check whether this machine has everything that segmenting needs."
EXAMPLE = "partialorganseg doctor"
NEEDED = ("numpy", "scipy", "torch", "SimpleITK", "safetensors", "pydantic", "PyYAML", "tqdm", "Pillow", "psutil")
TRAINING = ("monai", "tensorboard")
MEMORY_GIB = 3.0  # the most that a CT of 512 x 512 x 600 takes on the CPU


class Finding(NamedTuple):
    """A line of the report: `subject` is the part of the machine, `fine` whether it will do."""

    subject: str
    fine: bool
    text: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_device_option(parser)
    add_common_options(parser)


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Prints every finding; 1 if any is a problem."""
    all_fine = True
    for subject, fine, text in findings(arguments.device):
        all_fine = all_fine and fine
        reporter.result(check=subject, ok=fine, found=text)
        state = "ok" if fine else "problem"
        print(f"{state:<9}{subject:<16}{text}", flush=True)
    return int(not all_fine)


def findings(device: str) -> Iterator[Finding]:
    """Every finding, quick ones first."""
    yield Finding("Python", (3, 10) <= sys.version_info[:2] <= (3, 12),
                  f"{platform.python_version()} on {platform.platform(terse=True)}, {sys.executable}")
    # PyTorch takes seconds to import: what is known without it is printed before.
    yield from _packages()
    yield from _memory()
    yield from _folders()
    yield from _torch(device)
    yield from _models()


def _packages() -> Iterator[Finding]:
    installed, missing = _versions(NEEDED)
    parts = [", ".join(installed)]
    if missing:
        parts.append(f"missing: {', '.join(missing)}")
    yield Finding("packages", not missing, "; ".join(filter(None, parts)))
    # Nothing is wrong with a machine that only segments, so these may be missing.
    installed, missing = _versions(TRAINING)
    parts = [", ".join(installed)]
    if missing:
        parts.append(f"missing: {', '.join(missing)} (`learn`, `finetune` and `train` need monai; tensorboard shows "
                     f"curves; pip install {' '.join(missing)})")
    yield Finding("for training", True, "; ".join(filter(None, parts)))


def _versions(packages: Sequence[str]) -> tuple[list[str], list[str]]:
    """Installed packages with their versions, and the missing ones."""
    installed, missing = [], []
    for name in packages:
        try:
            installed.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    return installed, missing


def _memory() -> Iterator[Finding]:
    import psutil

    from ..free_memory import free_memory

    # Swap space does not count: a CT that needs it takes many times as long.
    free = free_memory() / 2**30
    text = f"{free:.1f} of {psutil.virtual_memory().total / 2**30:.1f} GiB free"
    if free < MEMORY_GIB:
        text += f"; a large CT needs up to {MEMORY_GIB:g} GiB"
    yield Finding("memory", free >= MEMORY_GIB, text)


def _folders() -> Iterator[Finding]:
    from ..models.folders import user_models

    for subject, place in (("model folder", user_models), ("log folder", lambda: logfile.user_log().parent),
                           ("scratch folder", lambda: Path(tempfile.gettempdir()))):
        try:
            yield Finding(subject, True, f"{writable_folder(place())} can be written")
        except UserError as error:
            yield Finding(subject, False, str(error))


def _torch(device: str) -> Iterator[Finding]:
    try:
        import torch
    except Exception as error:  # a broken installation fails in many ways, each worth one line here
        yield Finding("PyTorch", False, f"expected to import, found {type(error).__name__}: {error}")
        return
    devices = {"auto": "", "cpu": "cpu"}  # what --device takes, and how it is shown
    # "cuda" without a number is the first GPU, so it stands for no further device.
    for index in range(torch.cuda.device_count()):
        devices[f"cuda:{index}"] = f"cuda:{index} ({torch.cuda.get_device_name(index)})"
        devices["cuda"] = ""
    if torch.backends.mps.is_available():
        devices["mps"] = "mps"
    text = ", ".join(filter(None, devices.values()))
    if device not in devices:
        text += f"; '{device}' is not among them"
    yield Finding("devices", device in devices, text)
    bfloat16 = "not in hardware (float32 is used)"
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        bfloat16 = "in hardware"
    yield Finding("CPU", True, f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, "
                               f"bfloat16 {bfloat16}")


def _models() -> Iterator[Finding]:
    from ..models.bundle import load_bundle
    from ..models.folders import model_folders

    folders = model_folders()
    if not folders:
        yield Finding("model", False, "expected at least the embedded model, found none")
    for name, folder in folders.items():
        try:
            load_bundle(folder)
        except UserError as error:
            yield Finding("model", False, str(error))
        else:
            yield Finding("model", True, f"{name}, verified, {folder}")
