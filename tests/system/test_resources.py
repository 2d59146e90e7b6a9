"""Available resources: simulated /proc and /sys with control groups of both versions, and real limits."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from cryofs.system.resources import (
    default_cache_size,
    memory_limits,
    process_limit,
    task_limit,
    usable_cores,
    usable_memory,
)
from tests.support import run_in_process

GIB = 1 << 30
MACHINE = 64 * GIB
NO_LIMIT_V1 = "9223372036854771712\n"


def machine(
    root: Path, groups: str = "", files: dict[str, str] | None = None, address_space: str = "unlimited"
) -> Path:
    """Simulate a machine with 64 GiB, a process in these control groups, and files in /sys/fs/cgroup."""
    content = {
        "proc/meminfo": f"MemTotal:       {MACHINE >> 10} kB\nMemFree:         1000 kB\nHugePages_Total:       0\n",
        "proc/self/cgroup": groups,
        "proc/self/limits": "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max open files            1024                 4096                 files     \n"
        f"Max address space         {address_space:20} unlimited            bytes     \n",
    } | {f"sys/fs/cgroup/{name}": text for name, text in (files or {}).items()}
    for name, text in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "files", "memory"),
    [
        ("", {}, MACHINE),
        # version 2: the group's own limit, one further out, none, and that of the machine itself
        ("0::/a/b\n", {"a/b/memory.max": "2147483648\n", "a/memory.max": "max\n"}, 2 * GIB),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "3221225472\n"}, 3 * GIB),
        ("0::/a/b\n", {"a/b/memory.max": "8589934592\n", "a/memory.max": "3221225472\n"}, 3 * GIB),
        ("0::/a/b\n", {"a/b/memory.max": "max\n"}, MACHINE),
        ("0::/a\n", {"a/memory.max": str(2 * MACHINE)}, MACHINE),
        ("0::/\n", {}, MACHINE),
        # in a container: its own group is the outermost that it sees
        ("0::/\n", {"memory.max": "1073741824\n"}, GIB),
        ("0::/seen/from/outside\n", {"memory.max": "1073741824\n"}, GIB),
        ("0::/../../elsewhere\n", {"memory.max": "1073741824\n"}, GIB),
        # version 1, alone and with an empty version 2 beside it
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "2147483648\n"}, 2 * GIB),
        ("4:cpu,memory:/a:b\n0::/\n", {"memory/a:b/memory.limit_in_bytes": "2147483648\n", "unified/x": ""}, 2 * GIB),
        ("4:memory:/docker/1\n", {"memory/memory.limit_in_bytes": "2147483648\n"}, 2 * GIB),
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": NO_LIMIT_V1}, MACHINE),
        # both, version 2 in a folder of its own
        (
            "4:memory:/a\n0::/b\n",
            {"memory/a/memory.limit_in_bytes": NO_LIMIT_V1, "unified/b/memory.max": "4294967296\n"},
            4 * GIB,
        ),
        ("4:name=systemd:/\n3:pids:/x\n", {"memory/memory.limit_in_bytes": "1\n"}, MACHINE),
    ],
)
def test_memory_is_bounded_by_control_groups(tmp_path: Path, groups: str, files: dict[str, str], memory: int) -> None:
    assert usable_memory(machine(tmp_path, groups, files)) == memory


def test_memory_is_bounded_by_the_limit_of_address_space(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/\n", {"memory.max": str(8 * GIB)}, address_space=str(6 * GIB))
    assert memory_limits(root) == {
        "the machine": MACHINE,
        "its control group": 8 * GIB,
        "its limit of address space": 6 * GIB,
    }
    assert usable_memory(root) == 6 * GIB


@pytest.mark.parametrize(
    ("memory", "cache"),
    [
        (64 * GIB, 16 * GIB),
        (40 * GIB, 10 * GIB),
        (2 * GIB, GIB // 2),
        (3 * GIB // 2, GIB // 2),
        (GIB // 2, GIB // 4),
    ],
)
def test_the_cache_is_a_share_of_memory(tmp_path: Path, memory: int, cache: int) -> None:
    assert default_cache_size(machine(tmp_path, "0::/\n", {"memory.max": str(memory)})) == cache


def test_the_cache_of_a_large_machine_is_limited(tmp_path: Path) -> None:
    root = machine(tmp_path)
    (root / "proc/meminfo").write_text(f"MemTotal:       {1 << 30} kB\n")
    assert default_cache_size(root) == 16 * GIB


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/a\n", {"a/cpu.max": "50000 100000\n"}, 1),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "100000 100000\n"}, 1),
        ("3:cpu,cpuacct:/a\n", {"cpu/a/cpu.cfs_quota_us": "20000\n", "cpu/a/cpu.cfs_period_us": "50000\n"}, 1),
        ("3:cpu:/a\n", {"cpu/a/cpu.cfs_quota_us": "-1\n", "cpu/a/cpu.cfs_period_us": "50000\n"}, None),
        ("0::/a\n", {"a/cpu.max": "100000000 100000\n"}, None),
        ("0::/a\n", {"a/cpu.max": "max 100000\n"}, None),
        ("", {}, None),
    ],
)
def test_cores_are_bounded_by_control_groups(
    tmp_path: Path, groups: str, files: dict[str, str], cores: int | None
) -> None:
    """Compare the number of cores; None means all cores of the affinity."""
    assert usable_cores(machine(tmp_path, groups, files)) == (cores or len(os.sched_getaffinity(0)))


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/a/b\n", {"a/b/pids.max": "max\n", "a/pids.max": "300\n"}, 300),
        ("8:pids:/a\n", {"pids/a/pids.max": "20\n"}, 20),
        ("0::/a\n", {"a/pids.max": "5000\n"}, 1000),
    ],
)
def test_tasks_are_bounded_by_control_groups_and_limits(
    tmp_path: Path, groups: str, files: dict[str, str], limit: int
) -> None:
    root = machine(tmp_path, groups, files)
    with (root / "proc/self/limits").open("a") as limits:
        limits.write("Max processes             1000                 2000                 processes\n")
    assert task_limit(root) == limit


def test_tasks_may_be_unlimited(tmp_path: Path) -> None:
    assert task_limit(machine(tmp_path, "0::/a\n", {"a/pids.max": "max\n"})) is None


def test_parts_of_a_core_count_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert usable_cores(machine(tmp_path, "0::/\n", {"cpu.max": "250000 100000\n"})) == 3


ODD_LINES = "\n:\nMemTotal\nMemTotal: 0 kB\nMax address space\nMax address space  x\n0:\n1:cpu\n0::a\n\udcff\n"


@pytest.mark.parametrize("table", ["proc/meminfo", "proc/self/cgroup", "proc/self/limits"])
def test_lines_that_do_not_parse_are_skipped(tmp_path: Path, table: str) -> None:
    root = machine(tmp_path, "0::/a\n", {"a/memory.max": str(GIB), "a/cpu.max": "1 1\n"}, str(2 * GIB))
    (root / table).write_bytes(os.fsencode(ODD_LINES) + (root / table).read_bytes())
    assert memory_limits(root) == {
        "the machine": MACHINE,
        "its control group": GIB,
        "its limit of address space": 2 * GIB,
    }
    assert usable_cores(root) == 1


@pytest.mark.parametrize("content", ["", "0\n", "-1\n", "0 0\n", "1\n2\n3\n", "\udcff"])
def test_limits_of_control_groups_that_do_not_parse(tmp_path: Path, content: str) -> None:
    root = machine(tmp_path, "0::/\n3:cpu:/\n")
    for name in ("memory.max", "cpu.max", "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"):
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(content))
    assert usable_memory(root) == MACHINE
    assert usable_cores(root) == len(os.sched_getaffinity(0))


def test_without_proc_the_c_library_is_used(tmp_path: Path) -> None:
    real = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert memory_limits(tmp_path) == {"the machine": real}
    assert usable_cores(tmp_path) == len(os.sched_getaffinity(0))


def test_the_limit_of_open_files_is_raised() -> None:
    program = """
import resource
from cryofs.system.resources import process_limit, raise_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, (300, 600))
raise_open_files()
print(process_limit("Max open files"))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "600\n"


def test_limits_of_the_process(tmp_path: Path) -> None:
    root = machine(tmp_path)
    assert process_limit("Max open files", root) == 1024
    assert process_limit("Max open files", root, hard=True) == 4096
    assert process_limit("Max address space", root) is None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert process_limit("Max open files") == soft


def test_a_real_limit_of_address_space() -> None:
    program = "from cryofs.system.resources import usable_memory as m; print(m())"
    command = ["sh", "-c", f"ulimit -v 1000000; exec {sys.executable} -c '{program}'"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) == 1_000_000 << 10


def test_a_real_control_group() -> None:
    limits = [Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")]
    found = [int(text) for path in limits if path.exists() and (text := path.read_text().strip()) != "max"]
    if not found or min(found) >= memory_limits()["the machine"]:
        pytest.skip("needs a control group with a limit of memory")
    assert usable_memory() <= min(found)


def test_help_states_the_size_of_the_cache() -> None:
    printed = " ".join(run_in_process("mount", "--help").stdout.split())
    assert "a quarter of the usable memory" in printed
