"""The table of mounts: odd names, mounts on top of others."""

from pathlib import Path

from cryofs.system.mount_table import Mount, mount_of, mount_table

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


def test_the_real_table_has_a_root() -> None:
    assert mount_of(Path("/"), mount_table()) is not None
