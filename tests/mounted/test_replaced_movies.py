"""A real mount whose archive gets new movies, or other movies under the same names."""

import errno
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from cryofs.compress.movie_task import CompressOptions
from tests.mounted.helpers import copy_of_archive, facts_of
from tests.support import archive, mounted, simulated

pytestmark = [
    pytest.mark.mounted,
    pytest.mark.skipif(
        shutil.which("fusermount3") is None or not os.access("/dev/fuse", os.R_OK | os.W_OK),
        reason="needs fuse3 and /dev/fuse",
    ),
]


def test_a_movie_replaced_while_open_keeps_its_content(session: Path, tmp_path: Path) -> None:
    place = copy_of_archive(session, tmp_path)
    with mounted(place, tmp_path / "mnt") as mount, (mount / "Movies" / "0.mrc").open("rb", buffering=0) as file:
        (place / "Movies" / "1.mrc.tif").replace(place / "Movies" / "0.mrc.tif")
        original = (session / "Movies" / "0.mrc").read_bytes()
        assert os.pread(file.fileno(), 100_000, 500_000) == original[500_000:600_000]


def test_new_movies_appear(session: Path, tmp_path: Path) -> None:
    place = copy_of_archive(session, tmp_path)
    with mounted(place, tmp_path / "mnt") as mount:
        movie = simulated(tmp_path / "later.mrc", seed=9)
        archive(movie, place)
        deadline = time.monotonic() + 20
        while not (mount / "later.mrc").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert (mount / "later.mrc").read_bytes() == movie.read_bytes()


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
    place = copy_of_archive(session, tmp_path)
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


def test_pages_are_kept_between_opens_of_the_same_file(session: Path, mount: Path) -> None:
    movie = mount / "Movies" / "0.mrc"
    first = movie.read_bytes()
    reads = facts_of(mount)["bytes_read"]
    assert movie.read_bytes() == first == (session / "Movies" / "0.mrc").read_bytes()
    # a kernel that evicts pages requests them again
    assert facts_of(mount)["bytes_read"] - reads < len(first) // 2


def test_a_movie_overwritten_in_place_gives_old_bytes_or_errors(session: Path, tmp_path: Path) -> None:
    place = copy_of_archive(session, tmp_path)
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
