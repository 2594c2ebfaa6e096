"""Which device the network runs on, and whether reduced precision pays there."""

from __future__ import annotations

import time

import torch

from ..errors import UserError


def choose_device(wish: str) -> torch.device:
    """The device for "auto", "cpu", "cuda", "cuda:1" or "mps". Raises UserError when it is not there."""
    if wish == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wish)
    except RuntimeError:
        raise UserError(f"device '{wish}': expected auto, cpu, cuda, cuda:NUMBER or mps") from None
    there = {"cpu": True, "mps": torch.backends.mps.is_available(),
             "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()}
    if not there.get(device.type, False):
        raise UserError(f"device '{wish}': expected a device of this machine, found none such")
    return device


def fast_dtype(device: torch.device) -> torch.dtype:
    """The type that convolutions run fastest in: float16 on a GPU, bfloat16 on a CPU that has it, else float32."""
    if device.type != "cpu":
        return torch.float16
    # Flags differ between processor makers; time does not lie. In turns and often enough that other load does not
    # decide: the same CT must give the same segmentation.
    times = [(_convolution_s(torch.bfloat16), _convolution_s(torch.float32)) for _ in range(8)]
    bfloat16_s, float32_s = (min(each) for each in zip(*times, strict=True))
    return torch.bfloat16 if bfloat16_s < 0.8 * float32_s else torch.float32


def _convolution_s(dtype: torch.dtype) -> float:
    """Seconds that a small convolution takes.

    Of two images: PyTorch computes a single small one in float32 by slower code than it takes for a CT's windows, and
    bfloat16 then looked twice as fast where it is three times as slow.
    """
    data = torch.zeros(2, 32, 8, 32, 32, dtype=dtype).contiguous(memory_format=torch.channels_last_3d)
    weight = torch.zeros(32, 32, 3, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last_3d)
    start = time.perf_counter()
    torch.nn.functional.conv3d(data, weight, padding=1)
    return time.perf_counter() - start
