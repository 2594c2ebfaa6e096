"""Free memory is the computer's, within the limit of the container or job that the process runs in."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from PartialOrganSegLib import free_memory as module
from PartialOrganSegLib.errors import Code, UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.imaging.volume import Grid
from PartialOrganSegLib.memory_claims import check_claim
from PartialOrganSegLib.segmenting.memory import check_memory
from Testing.helpers.threshold_network import threshold_bundle

GIB = 1 << 30


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of control groups, of a computer with 10 GiB free and 8 of swap space."""
    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: SimpleNamespace(available=10 * GIB))
    monkeypatch.setattr(module.psutil, "swap_memory", lambda: SimpleNamespace(free=8 * GIB))
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


NO_LIMIT = {2: "max", 1: (1 << 63) - 4096}


@pytest.mark.parametrize(("version", "own", "with_memory"), [(2, "0::/job", 0), (1, "3:memory:/job", 1)])
@pytest.mark.parametrize(("memory", "swap", "expected"), [
    (4 * GIB, 0, 0), (4 * GIB, 2 * GIB, GIB), (4 * GIB, None, 8 * GIB), (None, None, 8 * GIB)])
def test_swap_space_is_the_computers_within_the_limit_of_the_group(groups: Path, version, own, with_memory, memory,
                                                                   swap, expected) -> None:
    """Of which 1 GiB is used, and of memory too; version 1 counts both together."""
    (groups.parent / "own").write_text(own + "\n")
    folder = (groups if version == 2 else groups / "memory") / "job"
    write_group(folder, NO_LIMIT[version] if memory is None else memory, GIB, 8, version)
    limit_name, used_name = {2: ("memory.swap.max", "memory.swap.current"),
                             1: ("memory.memsw.limit_in_bytes", "memory.memsw.usage_in_bytes")}[version]
    limit = NO_LIMIT[version] if swap is None else swap + with_memory * memory
    (folder / limit_name).write_text(f"{limit}\n")
    (folder / used_name).write_text(f"{GIB + with_memory * GIB}\n")
    assert module.free_swap() == expected


def claim(folder: Path) -> None:
    check_claim(folder / "a.nrrd", GIB, GIB, packed=False)


def segment(folder: Path) -> None:
    check_memory(Grid((512, 512, 600), (0.8, 0.8, 1.0)), threshold_bundle(folder / "model"), Reporter())


@pytest.mark.parametrize("check", [claim, segment])
def test_what_a_file_or_a_ct_takes_has_to_fit_into_the_container(groups: Path, check, tmp_path: Path) -> None:
    (groups.parent / "own").write_text("0::/job\n")
    check(tmp_path)
    write_group(groups / "job", 2 * GIB + GIB // 16, 2 * GIB, 8)
    (groups / "job" / "memory.swap.max").write_text("0\n")
    (groups / "job" / "memory.swap.current").write_text("0\n")
    with pytest.raises(UserError, match=r"expected \d+ MiB of free memory.*, found 64 MiB") as raised:
        check(tmp_path)
    assert raised.value.code is Code.NO_MEMORY
