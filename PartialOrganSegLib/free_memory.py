"""How much memory is free: the computer's, within the limit of the container or job that this process runs in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

GROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_UNLIMITED = 1 << 60  # bytes: version 1 writes the largest number of whole pages where there is no limit


@dataclass(frozen=True)
class _Names:
    """What a version of control groups calls its files of a limit and of what is used, both in bytes, of memory and of
    swap space; and the lines of memory.stat with what holds copies of files: used, but given up when others need it.
    `with_swap`: the files of swap space count memory as well."""

    limit: str
    used: str
    swap_limit: str
    swap_used: str
    with_swap: bool
    caches: tuple[str, ...]


_VERSION_2 = _Names("memory.max", "memory.current", "memory.swap.max", "memory.swap.current", False,
                    ("inactive_file", "active_file"))
_VERSION_1 = _Names("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.memsw.limit_in_bytes",
                    "memory.memsw.usage_in_bytes", True, ("total_inactive_file", "total_active_file"))


def free_memory() -> int:
    """Bytes that can be had without swapping."""
    free: int = psutil.virtual_memory().available
    for folder, names in _groups():
        # A group without a limit says "max", and one that does not exist here says nothing.
        with contextlib.suppress(OSError, ValueError):
            limit = _bytes_in(folder / names.limit)
            used = _bytes_in(folder / names.used) - _cached(folder, names)
            free = min(free, max(0, limit - used))
    return free


def free_swap() -> int:
    """Bytes that can be had beside `free_memory()` by swapping, many times slower; often none in a container."""
    free: int = psutil.swap_memory().free
    for folder, names in _groups():
        with contextlib.suppress(OSError, ValueError):
            limit, used = _bytes_in(folder / names.swap_limit), _bytes_in(folder / names.swap_used)
            if limit >= _UNLIMITED:
                continue
            if names.with_swap:
                limit, used = limit - _bytes_in(folder / names.limit), used - _bytes_in(folder / names.used)
            free = min(free, max(0, limit - used))
    return free


def _bytes_in(file: Path) -> int:
    return int(file.read_text(encoding="ascii"))


def _groups() -> Iterator[tuple[Path, _Names]]:
    """The folders of this process's control groups and of those around them."""
    try:
        lines = OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:  # not on Linux
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            root, names = GROUPS, _VERSION_2
        elif "memory" in controllers.split(","):
            root, names = GROUPS / "memory", _VERSION_1
        else:
            continue
        group = root / path.strip("/")
        yield group, names
        while group != root:
            group = group.parent
            yield group, names


def _cached(folder: Path, names: _Names) -> int:
    """Bytes of a group that hold copies of files."""
    cached = 0
    for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines():
        name, value = line.split()
        if name in names.caches:
            cached += int(value)
    return cached
