"""`partialorganseg doctor`: is everything here that segmenting needs? One line a fact, `ok` or `problem`."""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from .. import logfile
from ..errors import UserError
from ..events import Reporter
from ..outputs import writable_folder
from .options import add_common_options

HELP = "Tell whether this machine has all that segmenting needs."
EXAMPLE = "partialorganseg doctor"
NEEDED = ("numpy", "scipy", "torch", "SimpleITK", "safetensors", "pydantic", "PyYAML", "tqdm", "Pillow", "psutil")
TRAINING = ("monai", "tensorboard")
MEMORY_GIB = 3.0  # what a CT of 512 x 512 x 600 takes at most on the CPU

Finding = tuple[str, bool, str]  # what was looked at, whether it is fine, what was found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_common_options(parser)


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Prints every finding; 1 when one is a problem."""
    problems = 0
    for what, fine, found in findings(arguments.device):
        problems += not fine
        reporter.result(check=what, ok=fine, found=found)
        print(f"{'ok' if fine else 'problem':<9}{what:<16}{found}", flush=True)
    return 1 if problems else 0


def findings(device: str) -> Iterator[Finding]:
    """Every finding, quick ones first."""
    yield ("Python", (3, 10) <= sys.version_info[:2] <= (3, 12),
           f"{platform.python_version()} on {platform.platform(terse=True)}, {sys.executable}")
    yield from _packages()
    yield from _memory()
    yield from _folders()
    yield from _torch(device)
    yield from _models()


def _packages() -> Iterator[Finding]:
    versions = {}
    for name in NEEDED + TRAINING:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    for title, names, needed in (("packages", NEEDED, True), ("for training", TRAINING, False)):
        missing = [name for name in names if versions[name] is None]
        there = ", ".join(f"{name} {versions[name]}" for name in names if versions[name])
        lack = f"missing: {', '.join(missing)}" + ("" if needed else " (only `train` needs them)") if missing else ""
        yield title, not (missing and needed), "; ".join(part for part in (there, lack) if part)


def _memory() -> Iterator[Finding]:
    import psutil

    memory = psutil.virtual_memory()
    free = memory.available / 2**30
    yield ("memory", free >= MEMORY_GIB, f"{free:.1f} of {memory.total / 2**30:.1f} GiB free"
           + ("" if free >= MEMORY_GIB else f"; a large CT needs up to {MEMORY_GIB:g} GiB"))


def _folders() -> Iterator[Finding]:
    from ..models.folders import user_models

    for what, folder in (("model folder", user_models()), ("log folder", logfile.user_log().parent),
                         ("scratch folder", Path(tempfile.gettempdir()))):
        try:
            yield what, True, f"{writable_folder(folder)} can be written"
        except UserError as error:
            yield what, False, str(error)


def _torch(device: str) -> Iterator[Finding]:
    try:
        import torch
    except Exception as error:  # a broken installation fails in many ways, each worth one line here
        yield "PyTorch", False, f"expected to import, found {type(error).__name__}: {error}"
        return
    there = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    there += ["mps"] if torch.backends.mps.is_available() else []
    names = [f"{name} ({torch.cuda.get_device_name(name)})" if name.startswith("cuda") else name for name in there]
    fine = device == "auto" or ("cuda:0" if device == "cuda" else device) in there
    yield "devices", fine, ", ".join(names) + ("" if fine else f"; '{device}' is not among them")
    yield ("CPU", True, f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, bfloat16 "
           + ("in hardware" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "not in hardware (float32 is used)"))


def _models() -> Iterator[Finding]:
    from ..models.checksums import verify_bundle
    from ..models.folders import model_folders

    folders = model_folders()
    if not folders:
        yield "model", False, "expected at least the embedded model, found none"
    for name, folder in folders.items():
        try:
            verify_bundle(folder)
        except UserError as error:
            yield "model", False, str(error)
        else:
            yield "model", True, f"{name}, verified, {folder}"
