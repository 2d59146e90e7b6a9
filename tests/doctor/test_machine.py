"""Checks of simulated machines: each problem, and its absence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cryofs.codecs import compiled
from cryofs.codecs.compiled import Stored
from cryofs.doctor import machine as checks
from cryofs.doctor.finding import Level
from cryofs.errors import MountError
from tests.privileges import IS_ROOT

MOUNTS = "22 1 0:21 / /proc rw - proc proc rw\n" + "".join(
    f"{number} 1 0:{number} / /mnt/{number} ro - fuse.cryofs archive ro\n" for number in range(30, 33)
)
BDI = "sys/class/bdi/0:30/read_ahead_kb"


TABLES = {
    "dev/fuse": "",
    "etc/fuse.conf": "# user_allow_other - a comment\nuser_allow_other\nmount_max = 5\n",
    "etc/updatedb.conf": 'PRUNE_BIND_MOUNTS = "yes"\nPRUNEFS = "NFS proc fuse.cryofs"\n',
    "proc/filesystems": "nodev\tfuse\nnodev\tfusectl\n",
    "proc/meminfo": "MemTotal: 16777216 kB\n",
    "proc/self/cgroup": "0::/\n",
    "proc/self/limits": "Max open files            1024                 4096                 files     \n",
    "proc/self/mountinfo": MOUNTS,
    "proc/self/status": "Name:\tpython\nNoNewPrivs:\t0\n",
    BDI: "128\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Simulated machine without problems."""
    return fake(tmp_path, TABLES)


def fake(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_machine_without_problems(root: Path) -> None:
    findings = checks.check_machine(root)
    # fusermount3 and compiled code are those of the real machine
    simulated = [one for one in findings if not one.what.startswith("compiled code") and "fusermount3" not in one.what]
    assert {finding.level for finding in simulated} == {Level.OK}


@pytest.mark.parametrize(
    ("stored", "level", "text"),
    [
        (Stored(3, 3, 0, [Path("/opt/pycache")], []), Level.OK, "for all users"),
        (Stored(3, 1, 2, [Path("/opt/pycache")], [Path("/home/user/numba/codecs")]), Level.OK, "/home/user/numba"),
        (Stored(3, 1, 0, [Path("/opt/pycache")], []), Level.WARNING, "missing for 2 of 3"),
    ],
)
def test_where_compiled_code_is_used_from(
    monkeypatch: pytest.MonkeyPatch, stored: Stored, level: Level, text: str
) -> None:
    monkeypatch.setattr(compiled, "stored", lambda: stored)
    finding = checks.check_compiled_code()
    assert finding.level is level
    assert text in finding.what
    assert level is Level.OK or "cryofs warm" in finding.remedy


def test_failed_check_is_one_finding_and_the_others_run(root: Path) -> None:
    before = checks.check_machine(root)
    (root / "proc/self/mountinfo").unlink()
    findings = checks.check_machine(root)
    assert len(findings) == len(before)
    (failed,) = [finding for finding in findings if "check failed" in finding.what]
    assert failed.level is Level.WARNING
    assert failed.what.startswith("number of mounts: ")


def test_missing_fusermount3(root: Path) -> None:
    assert checks.check_mount_command(None, as_root=False, root=root).level is Level.PROBLEM
    found = checks.check_mount_command(None, as_root=True, root=root)
    assert found.level is Level.WARNING
    assert "apt-get install fuse3" in found.remedy


def test_fusermount3_without_setuid(root: Path) -> None:
    tool = root / "fusermount3"
    tool.touch(0o755)
    found = checks.check_mount_command(str(tool), as_root=False, root=root)
    assert found.level is Level.PROBLEM
    assert f"chmod u+s {tool}" in found.remedy
    assert checks.check_mount_command(str(tool), as_root=True, root=root).level is Level.WARNING


@pytest.mark.skipif(not IS_ROOT, reason="needs root to give a file away")
def test_fusermount3_that_may_not_run_as_root(root: Path) -> None:
    tool = root / "fusermount3"
    tool.touch()
    tool.chmod(0o4755)
    assert checks.check_mount_command(str(tool), as_root=False, root=root).level is Level.OK
    fake(root, {"proc/self/status": "Name:\tpython\nNoNewPrivs:\t1\n"})
    found = checks.check_mount_command(str(tool), as_root=False, root=root)
    assert found.level is Level.PROBLEM
    assert "NoNewPrivileges" in found.remedy
    os.chown(tool, 1, 1)
    tool.chmod(0o4755)
    assert checks.check_mount_command(str(tool), as_root=False, root=root).level is Level.PROBLEM


def test_library_that_fails_to_load() -> None:
    def load() -> None:
        raise MountError("missing libfuse 3")

    found = checks.check_library(load)
    assert found.level is Level.PROBLEM
    assert "apt-get install fuse3" in found.remedy


def test_missing_library() -> None:
    program = "from cryofs.doctor.machine import check_library as c; print(c().level)"
    environment = os.environ | {"FUSE_LIBRARY_NAME": "no-such-library"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "problem"


def test_device(root: Path) -> None:
    assert checks.check_device(root).level is Level.OK
    (root / "dev/fuse").unlink()
    found = checks.check_device(root)
    assert found.level is Level.PROBLEM
    assert "--device /dev/fuse" in found.remedy
    fake(root, {"proc/filesystems": "nodev\tproc\n\text4\n\tfuseblk\n"})
    found = checks.check_device(root)
    assert found.level is Level.PROBLEM
    assert "modprobe fuse" in found.remedy


def test_device_that_fails_to_open(root: Path) -> None:
    (root / "dev/fuse").unlink()
    # a folder never opens for writing, not even for root
    (root / "dev/fuse").mkdir()
    found = checks.check_device(root)
    assert found.level is Level.PROBLEM
    assert "opening it failed" in found.what


@pytest.mark.parametrize("conf", ["#user_allow_other\n", "# user_allow_other\n", "mount_max = 10\n", None])
def test_allow_other_without_user_allow_other(root: Path, conf: str | None) -> None:
    assert checks.check_other_users(as_root=False, root=root).level is Level.OK
    (root / "etc/fuse.conf").unlink()
    if conf is not None:
        fake(root, {"etc/fuse.conf": conf})
    found = checks.check_other_users(as_root=False, root=root)
    assert found.level is Level.WARNING
    assert "/etc/fuse.conf" in found.remedy
    assert checks.check_other_users(as_root=True, root=root).level is Level.OK


def test_number_of_mounts(root: Path) -> None:
    assert checks.check_number_of_mounts(as_root=False, root=root).what.startswith("3 FUSE mounts of 5")
    fake(root, {"etc/fuse.conf": "mount_max = 3\n"})
    found = checks.check_number_of_mounts(as_root=False, root=root)
    assert found.level is Level.PROBLEM
    assert "mount_max" in found.remedy
    assert checks.check_number_of_mounts(as_root=True, root=root).level is Level.OK
    fake(root, {"etc/fuse.conf": ""})
    assert checks.check_number_of_mounts(as_root=False, root=root).level is Level.OK


def test_read_only_sys_prevents_readahead(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.check_readahead_rights(root).level is Level.OK
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    found = checks.check_readahead_rights(root)
    assert found.level is Level.WARNING
    assert "udev" in found.remedy


@pytest.mark.parametrize("conf", ['PRUNEFS="nfs fuse.cryofsx"', '# PRUNEFS="fuse.cryofs"', ""])
def test_updatedb_without_exclusion(root: Path, conf: str) -> None:
    fake(root, {"etc/updatedb.conf": conf})
    found = checks.check_updatedb(root)
    assert found is not None
    assert found.level is Level.WARNING
    assert "PRUNEFS" in found.remedy


def test_no_finding_without_updatedb(root: Path) -> None:
    (root / "etc/updatedb.conf").unlink()
    assert checks.check_updatedb(root) is None


def test_index_folder(tmp_path: Path) -> None:
    assert checks.check_index_folder(tmp_path / "new" / "cryofs" / "index").level is Level.OK
    (tmp_path / "file").touch()
    found = checks.check_index_folder(tmp_path / "file" / "cryofs" / "index")
    assert found.level is Level.WARNING
    assert "XDG_CACHE_HOME" in found.remedy
    assert checks.check_index_folder(None).level is Level.WARNING


def test_memory_names_its_limit(root: Path) -> None:
    assert "16.0 GiB usable, limited by the machine" in checks.check_memory(root).what
    fake(root, {"sys/fs/cgroup/memory.max": str(4 << 30)})
    found = checks.check_memory(root).what
    assert "4.0 GiB usable, limited by its control group" in found
    assert "caches up to 1.0 GiB" in found


def test_low_limit_of_open_files(root: Path) -> None:
    limits = "Max open files            256                  {}                 files     \n"
    fake(root, {"proc/self/limits": limits.format(256)})
    found = checks.check_open_files(root)
    assert found.level is Level.WARNING
    assert "got 256" in found.what
    assert "ulimit -n" in found.remedy
    # a mount raises its soft limit to the hard limit
    fake(root, {"proc/self/limits": limits.format(4096)})
    assert checks.check_open_files(root).level is Level.OK


@pytest.mark.parametrize(
    "table", [name for name in TABLES if name not in ("dev/fuse", BDI)] + ["sys/fs/cgroup/memory.max"]
)
@pytest.mark.parametrize("content", [b"", b"\xff\n", b"a line\n:\n \n", b"Max open files\nmount_max = many\n0::\n0:\n"])
def test_system_tables_that_do_not_parse(root: Path, table: str, content: bytes) -> None:
    before = checks.check_machine(root)
    path = root / table
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content + (path.read_bytes() if path.exists() else b""))
    # unknown lines have no effect
    assert checks.check_machine(root) == before
    path.write_bytes(content)
    assert len(checks.check_machine(root)) == len(before)
