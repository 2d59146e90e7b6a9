"""Movies that are added, replaced or overwritten while they are mounted."""

import errno
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from cryofs.compress.movie_task import CompressOptions
from tests.mounted.support import NEEDS_MOUNTS, archive_copy
from tests.support import archive, mounted, simulated

pytestmark = NEEDS_MOUNTS


def test_a_movie_replaced_while_open_keeps_its_content(session: Path, tmp_path: Path) -> None:
    place = archive_copy(session, tmp_path / "archive")
    with mounted(place, tmp_path / "mnt") as mount, (mount / "Movies" / "0.mrc").open("rb", buffering=0) as file:
        (place / "Movies" / "1.mrc.tif").replace(place / "Movies" / "0.mrc.tif")
        original = (session / "Movies" / "0.mrc").read_bytes()
        assert os.pread(file.fileno(), 100_000, 500_000) == original[500_000:600_000]


def test_new_movies_appear(session: Path, tmp_path: Path) -> None:
    place = archive_copy(session, tmp_path / "archive")
    with mounted(place, tmp_path / "mnt") as mount:
        movie = simulated(tmp_path / "later.mrc", seed=9)
        archive(movie, place)
        deadline = time.monotonic() + 20
        while not (mount / "later.mrc").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (mount / "later.mrc").read_bytes() == movie.read_bytes()


def test_a_hangup_rescans_the_archive_and_keeps_the_mount(session: Path, mount: Path) -> None:
    process = psutil.Process(json.loads(os.getxattr(mount, "user.cryofs.facts"))["pid"])
    movie = mount / "Movies" / "0.mrc"
    log = mount.with_suffix(".log")
    with movie.open("rb") as file:
        scans = wait_for_scans(log, 1)
        process.send_signal(signal.SIGHUP)
        wait_for_scans(log, scans + 1)
        assert file.read() == (session / "Movies" / "0.mrc").read_bytes()
    assert process.is_running()
    assert sorted(path.name for path in mount.iterdir()) == sorted(path.name for path in session.iterdir())


def wait_for_scans(log: Path, number: int) -> int:
    """Wait until the log reports at least this many scans of the archive; return their number."""
    while (scans := log.read_text().count(" movies read in ")) < number:
        time.sleep(0.01)
    return scans


def replacement(session: Path, place: Path, *, same_time: bool = False) -> tuple[Path, bytes]:
    """Return an archived movie with the size and gain of 0.mrc, outside the archive, and its original."""
    other = simulated(session.parent / "other" / "0.mrc", frames=20, seed=77)
    if same_time:
        found = (session / "Movies" / "0.mrc").stat()
        os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    made = place.with_name("other archive")
    archive(other, made, CompressOptions(gain=place / "gain-reference.mrc", jobs=2))
    return made / "0.mrc.tif", other.read_bytes()


@pytest.mark.parametrize("same_time", [False, True])
def test_readers_of_a_replaced_and_of_the_new_movie_in_parallel(session: Path, tmp_path: Path, same_time: bool) -> None:
    place = archive_copy(session, tmp_path / "archive")
    old = (session / "Movies" / "0.mrc").read_bytes()
    stored, new = replacement(session, place, same_time=same_time)
    with mounted(place, tmp_path / "mnt") as mount:
        movie = mount / "Movies" / "0.mrc"
        with movie.open("rb", buffering=0) as before:
            assert os.pread(before.fileno(), 1 << 20, 0) == old[: 1 << 20]
            stored.replace(place / "Movies" / "0.mrc.tif")
            with movie.open("rb", buffering=0) as after:
                assert os.pread(after.fileno(), len(new), 0) == new
                assert os.pread(before.fileno(), len(old), 0) == old
                assert os.pread(after.fileno(), len(new), 0) == new
            assert movie.read_bytes() == new
        assert movie.read_bytes() == new
        assert np.array_equal(np.memmap(movie, np.uint8, "r"), np.frombuffer(new, np.uint8))


def test_a_movie_overwritten_in_place_gives_old_bytes_or_errors(session: Path, tmp_path: Path) -> None:
    place = archive_copy(session, tmp_path / "archive")
    old = (session / "Movies" / "0.mrc").read_bytes()
    stored, new = replacement(session, place)
    with mounted(place, tmp_path / "mnt") as mount:
        movie = mount / "Movies" / "0.mrc"
        with movie.open("rb", buffering=0) as file:
            assert os.pread(file.fileno(), 4096, 0) == old[:4096]
            (place / "Movies" / "0.mrc.tif").write_bytes(stored.read_bytes())
            answers = []
            for offset in range(0, len(old), 1 << 17):
                try:
                    # fewer bytes if only some pages were available; the next read then fails
                    assert old[offset:].startswith(os.pread(file.fileno(), 1 << 17, offset))
                    answers.append(0)
                except OSError as error:
                    answers.append(error.errno or 0)
        assert set(answers) <= {0, errno.ESTALE}
        assert errno.ESTALE in answers
        assert movie.read_bytes() == new
