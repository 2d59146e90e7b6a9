"""A disk that fills up under a writable mount and is freed again."""

import errno
import functools
import os
from pathlib import Path

import pytest

from tests.mounted.storing import movie, wait_for
from tests.mounted.support import NEEDS_MOUNTS, wait_for_unlocked
from tests.outcomes import verified
from tests.privileges import CAN_MOUNT
from tests.support import mounted, tmpfs

pytestmark = [*NEEDS_MOUNTS, pytest.mark.skipif(not CAN_MOUNT, reason="needs the right to mount file systems")]
MIB = 1 << 20
SHAPE = (8, 256, 256)


def write(path: Path, data: bytes) -> bool:
    """Write a file, or remove it and return False if there is no room, never later than at the call that needs it."""
    is_written = False
    try:
        with path.open("xb", buffering=0) as file:
            for begin in range(0, len(data), 1 << 17):
                file.write(data[begin : begin + (1 << 17)])
            is_written = True
    except OSError as error:
        if error.errno != errno.ENOSPC or is_written:
            raise
        path.unlink(missing_ok=True)
    return is_written


def test_a_disk_that_fills_up_and_is_freed_loses_nothing(tmp_path: Path) -> None:
    kinds = [movie(seed, SHAPE) for seed in range(4)]
    disk, expected = tmp_path / "disk", {}
    disk.mkdir()
    with tmpfs(disk, "16m"):
        archive = disk / "archive"
        archive.mkdir()
        with mounted(archive, tmp_path / "mnt", "-o", "writable,settle=0,ingest_jobs=1") as mount:
            for number in range(24):
                name, data = f"{number}.mrc", kinds[number % 4]
                wait_for(functools.partial(write, mount / name, data))
                expected[name] = data
            # other files take what is left
            with (disk / "others").open("wb") as others, pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                others.write(bytes(16 * MIB))
            assert os.statvfs(mount).f_bavail == 0
            assert not write(mount / "late.mrc", kinds[0])
            assert {name: (mount / name).read_bytes() for name in expected} == expected
            (mount / "0.mrc").unlink()
            del expected["0.mrc"]
            (disk / "others").unlink()
            wait_for(lambda: write(mount / "late.mrc", kinds[0]))
            expected["late.mrc"] = kinds[0]
            wait_for(lambda: not list(archive.glob("*.mrc")))
            assert {name: (mount / name).read_bytes() for name in expected} == expected
        wait_for_unlocked(archive)
        assert sorted(path.name for path in archive.iterdir()) == sorted(f"{name}.tif" for name in expected)
        assert not verified(archive)[1]
