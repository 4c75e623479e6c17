from __future__ import annotations

from pathlib import Path

import pytest

from llmd.config.processors import cpu_quota, usable_threads


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    return tmp_path / "proc"


@pytest.fixture
def sys(tmp_path: Path) -> Path:
    (tmp_path / "sys" / "fs" / "cgroup").mkdir(parents=True)
    return tmp_path / "sys"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def write_siblings(sys: Path, *cores: str) -> None:
    for siblings in cores:
        for cpu in siblings.split(","):
            topology = sys / "devices" / "system" / "cpu" / f"cpu{cpu}" / "topology"
            write(topology / "thread_siblings_list", siblings)


def in_v2(proc: Path, path: str) -> None:
    write(proc / "self" / "cgroup", f"0::{path}")


def in_v1(proc: Path, path: str) -> None:
    write(proc / "self" / "cgroup", f"12:memory:{path}\n4:cpu,cpuacct:{path}\n1:name=systemd:/")


def v2_max(sys: Path, path: str, text: str) -> None:
    write(sys / "fs" / "cgroup" / path / "cpu.max", text)


def test_smt_siblings_count_as_one_core(proc: Path, sys: Path) -> None:
    write_siblings(sys, "0,4", "1,5", "2,6", "3,7")
    assert usable_threads(proc, sys, range(8)).count == 4


def test_a_cpuset_counts_only_its_own_cores(proc: Path, sys: Path) -> None:
    write_siblings(sys, "0,4", "1,5", "2,6", "3,7")
    assert usable_threads(proc, sys, {0, 4, 1}).count == 2


def test_without_siblings_package_and_core_tell_the_cores_apart(proc: Path, sys: Path) -> None:
    for cpu, (package, core) in enumerate([(0, 0), (0, 1), (1, 0), (1, 0)]):
        topology = sys / "devices" / "system" / "cpu" / f"cpu{cpu}" / "topology"
        write(topology / "physical_package_id", str(package))
        write(topology / "core_id", str(core))
    assert usable_threads(proc, sys, range(4)).count == 3


def test_without_any_topology_each_cpu_is_a_core(proc: Path, sys: Path) -> None:
    threads = usable_threads(proc, sys, range(3))
    assert str(threads) == "3: 3 physical cores in the affinity mask"


def test_the_quota_is_rounded_down_and_named(proc: Path, sys: Path) -> None:
    in_v2(proc, "/")
    v2_max(sys, "", "250000 100000")
    threads = usable_threads(proc, sys, range(4))
    assert str(threads) == "2: 4 physical cores in the affinity mask, cgroup quota 2.5 CPUs"


@pytest.mark.parametrize(
    ("quota", "count"), [("765000 100000", 7), ("50000 100000", 1), ("max 100000", 16)]
)
def test_a_v2_quota_bounds_the_count(proc: Path, sys: Path, quota: str, count: int) -> None:
    in_v2(proc, "/")
    v2_max(sys, "", quota)
    assert usable_threads(proc, sys, range(16)).count == count


def test_a_quota_above_the_cores_changes_nothing(proc: Path, sys: Path) -> None:
    in_v2(proc, "/")
    v2_max(sys, "", "3200000 100000")
    assert usable_threads(proc, sys, range(2)).count == 2


def test_the_smallest_quota_on_the_way_to_the_root_holds(proc: Path, sys: Path) -> None:
    in_v2(proc, "/slice/pod/container")
    v2_max(sys, "slice/pod/container", "max 100000")
    v2_max(sys, "slice/pod", "300000 100000")
    v2_max(sys, "slice", "600000 100000")
    assert cpu_quota(proc, sys) == 3


def test_a_sibling_groups_quota_is_not_ours(proc: Path, sys: Path) -> None:
    in_v2(proc, "/slice/ours")
    v2_max(sys, "slice/ours", "max 100000")
    v2_max(sys, "slice/other", "100000 100000")
    assert cpu_quota(proc, sys) is None


@pytest.mark.parametrize("path", ["/docker/0123", "/../../outside"])
def test_a_path_of_the_host_falls_back_to_the_mounted_root(
    proc: Path, sys: Path, path: str
) -> None:
    in_v2(proc, path)
    v2_max(sys, "", "200000 100000")
    assert cpu_quota(proc, sys) == 2


def test_a_v1_quota_is_found_below_the_joint_controllers(proc: Path, sys: Path) -> None:
    in_v1(proc, "/docker/0123")
    group = sys / "fs" / "cgroup" / "cpu,cpuacct" / "docker" / "0123"
    write(group / "cpu.cfs_quota_us", "150000")
    write(group / "cpu.cfs_period_us", "100000")
    assert cpu_quota(proc, sys) == 1.5


def test_a_v1_quota_of_minus_one_is_no_limit(proc: Path, sys: Path) -> None:
    in_v1(proc, "/")
    group = sys / "fs" / "cgroup" / "cpu"
    write(group / "cpu.cfs_quota_us", "-1")
    write(group / "cpu.cfs_period_us", "100000")
    assert cpu_quota(proc, sys) is None


def test_a_v1_quota_of_the_parent_holds(proc: Path, sys: Path) -> None:
    in_v1(proc, "/pod/container")
    (sys / "fs" / "cgroup" / "cpu" / "pod" / "container").mkdir(parents=True)
    write(sys / "fs" / "cgroup" / "cpu" / "pod" / "cpu.cfs_quota_us", "400000")
    write(sys / "fs" / "cgroup" / "cpu" / "pod" / "cpu.cfs_period_us", "200000")
    assert cpu_quota(proc, sys) == 2


def test_without_cgroup_files_there_is_no_quota(proc: Path, sys: Path) -> None:
    assert cpu_quota(proc, sys) is None


def test_on_this_system_there_is_at_least_one_thread() -> None:
    assert usable_threads().count >= 1
