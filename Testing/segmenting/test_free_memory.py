"""Free memory is the computer's, within the limit of the container or job that the process runs in."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from PartialOrganSegLib.segmenting import free_memory as module

GIB = 1 << 30


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of control groups, of a computer with 10 GiB free."""
    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: SimpleNamespace(available=10 * GIB))
    monkeypatch.setattr(module, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(module, "OWN_GROUPS", tmp_path / "own")
    return tmp_path / "cgroup"


def write_group(folder: Path, limit: object, used: int, cached: int, version: int = 2) -> None:
    names = {2: ("memory.max", "memory.current", ""), 1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")}
    limit_name, used_name, prefix = names[version]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / limit_name).write_text(f"{limit}\n")
    (folder / used_name).write_text(f"{used}\n")
    # What is cached by this group alone comes first in version 1, and does not count twice.
    lines = [f"{prefix}inactive_file {cached - 1}", f"{prefix}active_file 1", "anon 77"]
    if version == 1:
        lines.insert(0, "inactive_file 5")
    (folder / "memory.stat").write_text("\n".join(lines) + "\n")


def test_without_control_groups_it_is_the_computers(groups: Path) -> None:
    assert module.free_memory() == 10 * GIB


@pytest.mark.parametrize(("version", "own"), [(2, "0::/job/step"), (1, "4:cpu:/else\n3:memory,x:/job/step")])
@pytest.mark.parametrize(("limits", "expected"), [
    (("max", "max"), 10 * GIB),
    ((4 * GIB, "max"), 3 * GIB + 8),     # of the job that the step belongs to
    (("max", 2 * GIB), GIB + 8),
    ((GIB // 2, "max"), 0),              # more is used than a limit that was lowered allows
    ((1 << 62, 1 << 62), 10 * GIB)])
def test_the_narrowest_limit_counts_less_what_is_used_but_for_copies_of_files(groups: Path, version, own, limits,
                                                                              expected) -> None:
    root = groups if version == 2 else groups / "memory"
    (groups.parent / "own").write_text(own + "\n")
    for folder, limit in zip((root / "job", root / "job" / "step"), limits, strict=True):
        write_group(folder, limit, GIB, 8, version)
    assert module.free_memory() == expected


def test_a_container_that_sees_its_own_group_as_the_root(groups: Path) -> None:
    """As with version 1, where the path is that of the host."""
    (groups.parent / "own").write_text("3:memory:/docker/0123\n")
    write_group(groups / "memory", 3 * GIB, GIB, 8, version=1)
    assert module.free_memory() == 2 * GIB + 8
