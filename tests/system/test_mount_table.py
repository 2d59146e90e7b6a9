"""The mount table: unusual names, stacked mounts."""

import os
from pathlib import Path
from typing import Any

import pytest

from cryofs.system.mount_table import Mount, mount_of, mount_table, resolved

TABLE = rb"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:21 / /mnt/with\040space\011and\134 ro shared:5 master:1 - fuse.cryofs /archive ro,user_id=0
24 22 0:22 / /mnt rw - nfs4 server:/export rw
25 24 0:23 /sub /mnt/over rw - tmpfs - rw
26 25 0:24 / /mnt/over rw - fuse.cryofs - ro
""" + "27 22 0:25 / /mnt/ümlaut rw - ext4 - rw\n".encode()


def test_lines_of_the_table(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_bytes(TABLE)
    mounts = mount_table(tmp_path / "mountinfo")
    assert mounts[1] == Mount(Path("/mnt/with space\tand\\"), "0:21", "fuse.cryofs", user=0)
    assert mounts[0].user is None
    assert mounts[5].place == Path("/mnt/ümlaut")

    def kind(path: str) -> str:
        found = mount_of(Path(path), mounts)
        assert found is not None
        return found.kind

    assert kind("/home/me") == "ext4"
    assert kind("/mnt/more") == "nfs4"
    assert kind("/mnt/overture") == "nfs4"
    assert kind("/mnt/over/x") == "fuse.cryofs"
    assert mount_of(Path("/x"), []) is None


SPACES = (
    b"2260 190 0:311 / /Docker/host rw,noatime - 9p drvfs rw,dirsync,aname=drvfs;path=C:\\Program Files\\Docker,mmap"
)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(SPACES, id="spaces in options"),
        b"30 1 0:30 / /mnt/a b rw - ext4 /dev/sda rw",
        b"30 1 0:30 /a b /mnt rw - ext4 /dev/sda rw",
        b"30 1 0:30 / /mnt rw - ext4 /dev/a b rw",
        b"30 1 0:30 / /mnt rw shared:1 ext4 /dev/sda rw",
        b"30 1 0:30 / /mnt rw -",
        b"30 1 0:30 / mnt rw - ext4 /dev/sda rw",
        b"number 1 0:30 / /mnt rw - ext4 /dev/sda rw",
        b"30 1 none / /mnt rw - ext4 /dev/sda rw",
        b"",
        b" ",
        b"\xff",
    ],
)
def test_lines_that_do_not_parse_are_skipped(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "mountinfo").write_bytes(TABLE)
    mounts = mount_table(tmp_path / "mountinfo")
    lines = TABLE.splitlines()
    (tmp_path / "mountinfo").write_bytes(b"\n".join([lines[0], line, *lines[1:]]))
    assert mount_table(tmp_path / "mountinfo") == mounts
    assert len(mounts) == len(lines)


def test_mountpoints_of_any_bytes(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_bytes(b"30 1 0:30 / /mnt/a\rb\xff\\012\\777\\000 rw - ext4 /dev/sda rw\n")
    (mount,) = mount_table(tmp_path / "mountinfo")
    # what stands for no character of a path is left as it is
    assert os.fsencode(mount.place) == b"/mnt/a\rb\xff\n\\777\\000"


def test_mounts_of_one_file_system_have_numbers(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_bytes(TABLE)
    assert [mount.number for mount in mount_table(tmp_path / "mountinfo")] == [22, 23, 24, 25, 26, 27]


def test_the_real_table_has_a_root() -> None:
    assert mount_of(Path("/"), mount_table()) is not None


def test_paths_are_resolved_without_access_to_mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every access below the mountpoint of such a mount counts as one that hangs."""
    stuck = tmp_path / "mnt"
    mounts = [
        Mount(tmp_path, "0:1", "tmpfs"),
        Mount(stuck, "0:2", "fuse.cryofs"),
        Mount(stuck / "in", "0:3", "fuse.cryofs"),
    ]
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/../mnt")
    (tmp_path / "deep").symlink_to(tmp_path / "link" / "x")
    (tmp_path / "loop").symlink_to("loop")
    real = os.readlink

    def readlink(path: object, **more: Any) -> str:
        assert not Path(str(path)).is_relative_to(stuck)
        return str(real(str(path), **more))

    monkeypatch.setattr(os, "readlink", readlink)

    def found(name: str) -> tuple[str, str | None]:
        path, mount = resolved(tmp_path / name, mounts, "fuse.cryofs")
        return str(path.relative_to(tmp_path)), mount.device if mount else None

    assert found("mnt") == ("mnt", "0:2")
    assert found("mnt/a/b") == ("mnt/a/b", "0:2")
    assert found("mnt/in") == ("mnt/in", "0:3")
    assert found("link") == ("mnt", "0:2")
    assert found("link/in/a") == ("mnt/in/a", "0:3")
    assert found("deep/y") == ("mnt/x/y", "0:2")
    assert found("folder/../mnt/in/../z") == ("mnt/z", "0:2")
    assert found("mnt/../folder") == ("folder", None)
    assert found("missing/a") == ("missing/a", None)
    assert found("loop/a") == ("loop/a", None)
    (tmp_path / "out").symlink_to("/")
    assert resolved(tmp_path / "out/usr", mounts, "fuse.cryofs") == (Path("/usr").resolve(), None)
