"""What a file's header claims, held against the file's size and the free memory before anything is allocated."""

from __future__ import annotations

from pathlib import Path

from .errors import Code, UserError
from .free_memory import free_memory, free_swap

GZIP_LIMIT = 1040  # deflate packs at most 1032 bytes into one, and a header says little more
_SMALL = 64 << 20  # bytes that any machine has
_COPIES = 2.5  # of the voxels while they are read and turned into HU
MIB = 1 << 20


def check_claim(path: Path | str, claimed: int, stored: int, packed: bool) -> None:
    """Raises UserError when `claimed` bytes of voxels cannot be in `stored` bytes of file, `packed` by deflate or not,
    or do not fit into the free memory.
    """
    largest, kind = stored, ""
    if packed:
        largest, kind = stored * GZIP_LIMIT, "packed "
    if claimed > largest:
        raise UserError(code=Code.FILE_DAMAGED, subject=path, expected=f"{claimed} bytes of voxels, as its header says",
                        found=f"{stored} {kind}bytes (truncated, or a wrong header)")
    if claimed <= _SMALL:
        return
    free = free_memory() + free_swap()
    if claimed * _COPIES > free:
        raise UserError(code=Code.NO_MEMORY, subject=path,
                        expected=f"{round(claimed * _COPIES) // MIB} MiB of free memory for what its header claims",
                        found=f"{free // MIB} MiB")
