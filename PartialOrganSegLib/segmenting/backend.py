"""Which device the network runs on, and in which precision."""

from __future__ import annotations

import torch

from ..errors import Code, UserError


def choose_device(wish: str) -> torch.device:
    """The device for "auto", "cpu", "cuda", "cuda:1" or "mps". Raises UserError for an absent one."""
    if wish == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    try:
        device = torch.device(wish)
    except RuntimeError:
        raise UserError(code=Code.VALUE_UNFIT, subject=f"device '{wish}'",
                        expected="auto, cpu, cuda, cuda:NUMBER or mps") from None
    has_gpu = torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    available = {"cpu": True, "mps": torch.backends.mps.is_available(), "cuda": has_gpu}
    if not available.get(device.type, False):
        raise UserError(code=Code.NO_DEVICE, subject=f"device '{wish}'", expected="a device of this machine",
                        found="none such")
    return device


def computes_bfloat16() -> bool:
    """Whether this computer's processor has instructions for bfloat16; without them it is slower than float32."""
    # Private in PyTorch, and absent from some versions: then nothing is known of the processor.
    checks = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    return any(check() for check in checks if check is not None)


def choose_precision(wish: str, device: torch.device, preferred: str) -> torch.dtype:
    """The type that convolutions run in for "auto", "float32", "bfloat16" or "float16".

    "auto" is what the model has as `preferred` on a CPU that computes it, else float32; float16 on an accelerator.
    Neither load nor the number of threads has a say: the same CT must give the same segmentation. Raises UserError for
    anything else, and for float16 on a CPU.
    """
    if wish == "auto":
        if device.type != "cpu":
            return torch.float16
        if preferred == "bfloat16" and computes_bfloat16():
            return torch.bfloat16
        return torch.float32
    kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if device.type != "cpu":
        kinds["float16"] = torch.float16
    if wish not in kinds:
        raise UserError(code=Code.VALUE_UNFIT, subject="precision",
                        expected=f"auto, {', '.join(kinds)} on {device.type}", found=f"'{wish}'")
    return kinds[wish]
