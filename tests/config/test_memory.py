from __future__ import annotations

from pathlib import Path

import pytest

from llmd.config.memory import available_memory, parse_vm_stat

GIB = 2**30


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    write(tmp_path / "proc" / "meminfo", f"MemTotal: 1 kB\nMemAvailable:   {8 * 2**20} kB")
    return tmp_path / "proc"


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    path = tmp_path / "sys" / "fs" / "cgroup"
    path.mkdir(parents=True)
    return path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def write_v2(group: Path, limit: int | str, current: int, stat: str = "") -> None:
    write(group / "memory.max", str(limit))
    write(group / "memory.current", str(current))
    write(group / "memory.stat", stat)


def available(proc: Path, groups: Path) -> tuple[int, str]:
    memory = available_memory(proc, groups.parents[1])
    return memory.num_bytes, memory.reason


def test_without_a_limit_it_is_what_the_system_has(proc: Path, groups: Path) -> None:
    assert available(proc, groups) == (8 * GIB, "MemAvailable")


def test_a_v2_limit_leaves_what_is_not_used(proc: Path, groups: Path) -> None:
    write(proc / "self" / "cgroup", "0::/")
    write_v2(groups, 4 * GIB, 1 * GIB)
    assert available(proc, groups) == (3 * GIB, "cgroup limit 4.0 GiB")


def test_no_limit_in_v2_is_the_word_max(proc: Path, groups: Path) -> None:
    write(proc / "self" / "cgroup", "0::/")
    write_v2(groups, "max", 1 * GIB)
    assert available(proc, groups)[1] == "MemAvailable"


def test_cached_files_count_as_available(proc: Path, groups: Path) -> None:
    write(proc / "self" / "cgroup", "0::/")
    stat = f"anon 5\ninactive_file {GIB}\nactive_file {GIB}"
    write_v2(groups, 4 * GIB, 3 * GIB, stat)
    assert available(proc, groups)[0] == 3 * GIB


def test_the_level_that_leaves_least_holds(proc: Path, groups: Path) -> None:
    write(proc / "self" / "cgroup", "0::/pod/container")
    write_v2(groups / "pod" / "container", 6 * GIB, 0)
    write_v2(groups / "pod", 7 * GIB, 5 * GIB)
    assert available(proc, groups) == (2 * GIB, "cgroup limit 7.0 GiB")


def test_usage_above_the_limit_leaves_nothing(proc: Path, groups: Path) -> None:
    write(proc / "self" / "cgroup", "0::/")
    write_v2(groups, GIB, 2 * GIB)
    assert available(proc, groups)[0] == 0


def test_a_v1_limit_is_read_with_its_own_names(proc: Path, groups: Path) -> None:
    write(proc / "self" / "cgroup", "3:memory:/docker/0123")
    write(groups / "memory" / "memory.limit_in_bytes", str(2 * GIB))
    write(groups / "memory" / "memory.usage_in_bytes", str(GIB))
    write(groups / "memory" / "memory.stat", f"total_inactive_file {GIB // 2}")
    assert available(proc, groups)[0] == 2 * GIB - GIB // 2


def test_the_huge_number_of_v1_is_no_limit(proc: Path, groups: Path) -> None:
    write(proc / "self" / "cgroup", "3:memory:/")
    write(groups / "memory" / "memory.limit_in_bytes", "9223372036854771712")
    write(groups / "memory" / "memory.usage_in_bytes", "1")
    assert available(proc, groups)[1] == "MemAvailable"


def test_without_meminfo_it_is_all_memory(tmp_path: Path) -> None:
    memory = available_memory(tmp_path / "proc", tmp_path / "sys")
    assert memory.num_bytes > 0
    assert memory.reason == "all memory of this system"


def test_macos_reports_pages() -> None:
    text = (
        "Mach Virtual Memory Statistics: (page size of 16384 bytes)\n"
        "Pages free:                               10.\n"
        "Pages active:                           1000.\n"
        "Pages inactive:                            5.\n"
        "Pages speculative:                         1.\n"
    )
    assert parse_vm_stat(text) == 16 * 16384
