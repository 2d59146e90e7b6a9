"""Reading through a mount: the bytes of the original, or an error."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from benchmarks.simulate import Detector
from cryofs.formats.record import read_record
from cryofs.storage.byte_source import LocalFile
from tests.mounted.support import NEEDS_MOUNTS, archive_copy, facts_of
from tests.support import archive, mounted, same_tree, simulated

pytestmark = NEEDS_MOUNTS


def test_every_file_is_the_original(session: Path, shared: Path) -> None:
    (session / "outside").unlink()
    assert (shared / "outside").readlink() == Path("/etc")
    names = sorted(path.name for path in shared.iterdir())
    assert names == ["Movies", "empty", "link", "notes.txt", "outside", "spaces and ümlauts.mrc", "special.mrcs"]
    (session / "outside").symlink_to("/etc")
    assert (shared / "special.mrcs").stat().st_atime_ns == 2 * 10**18 + 1
    same_tree(session, shared)


def test_reads_at_any_offset_return_the_original_bytes(session: Path, shared: Path) -> None:
    original = (session / "special.mrcs").read_bytes()
    rng = np.random.default_rng(0)
    with (shared / "special.mrcs").open("rb", buffering=0) as file:
        for _ in range(300):
            offset = int(rng.integers(0, len(original) + 10))
            size = int(rng.integers(1, 3 * len(original) // 12))
            file.seek(offset)
            assert file.read(size) == original[offset : offset + size]
        for offset in (1023, 1024, 1024 + 4096 - 1, 1024 + 4096, len(original) - 5001, len(original) - 1):
            file.seek(offset)
            assert file.read(2) == original[offset : offset + 2]


def test_memory_maps_contain_the_original(session: Path, shared: Path) -> None:
    shown = np.memmap(shared / "Movies" / "0.mrc", np.uint8, "r")
    assert shown.tobytes() == (session / "Movies" / "0.mrc").read_bytes()


def test_a_frame_is_decoded_once_for_many_readers(session: Path, mount: Path) -> None:
    def read_all(_: int) -> bytes:
        return (mount / "Movies" / "1.mrc").read_bytes()

    with ThreadPoolExecutor(8) as readers:
        contents = set(readers.map(read_all, range(8)))
    assert contents == {(session / "Movies" / "1.mrc").read_bytes()}
    assert facts_of(mount)["decodes"] == 20


def test_headers_and_sizes_need_no_decode(mount: Path) -> None:
    for path in (mount / "Movies").iterdir():
        assert path.stat().st_size > 0
        with path.open("rb", buffering=0) as file:
            assert len(os.pread(file.fileno(), 1024, 0)) == 1024
    # the kernel reads whole pages and reads ahead, so at most the first frame may have been requested
    assert facts_of(mount)["decodes"] <= 4


def test_the_mount_is_read_only(shared: Path) -> None:
    for attempt in (
        lambda: (shared / "new").write_text("x"),
        lambda: (shared / "notes.txt").write_text("x"),
        lambda: (shared / "notes.txt").unlink(),
        lambda: (shared / "folder").mkdir(),
    ):
        with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is checked
            attempt()
        assert caught.value.errno == errno.EROFS


def test_missing_files_are_reported_as_missing(shared: Path) -> None:
    for name in ("nothing", "Movies/0.mrc.tif", "gain-reference.mrc", "notes.txt/below", "Movies/../nothing"):
        with pytest.raises((FileNotFoundError, NotADirectoryError)):
            (shared / name).stat()


def test_free_space_of_the_archive_is_shown(session: Path, shared: Path) -> None:
    assert os.statvfs(shared).f_blocks == os.statvfs(session).f_blocks


def test_memory_stays_within_the_cache_size(tmp_path: Path) -> None:
    detector = Detector.make((1024, 1024), defects=100)
    movie = simulated(tmp_path / "session" / "movie.mrc", frames=40, detector=detector)
    archive(movie, tmp_path / "archive")
    original = np.memmap(movie, np.uint8, "r")
    with mounted(tmp_path / "archive", tmp_path / "mnt", "--cache-size", "32MiB", "--jobs", 2) as mount:

        def read_at_random(seed: int) -> bool:
            rng = np.random.default_rng(seed)
            with (mount / "movie.mrc").open("rb", buffering=0) as file:
                for _ in range(40):
                    offset = int(rng.integers(0, len(original)))
                    size = int(rng.integers(1, 6 << 20))
                    if os.pread(file.fileno(), size, offset) != original[offset : offset + size].tobytes():
                        return False
            return True

        with ThreadPoolExecutor(8) as readers:
            assert all(readers.map(read_at_random, range(8)))
        facts = facts_of(mount)
        assert facts["cached_bytes"] <= 32 << 20
        peak = psutil.Process(facts["pid"]).memory_info().rss
        assert peak < (32 << 20) + (300 << 20)


def test_a_damaged_frame_is_an_error_and_affects_nothing_else(session: Path, tmp_path: Path) -> None:
    place = archive_copy(session, tmp_path / "archive")
    damaged = place / "Movies" / "0.mrc.tif"
    with damaged.open("r+b") as file:
        frame = read_record(LocalFile(file.fileno(), "", is_owned=False)).frames[3]
        file.seek(frame.offsets[0] + frame.byte_counts[0] // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0x10]))
    original = (session / "Movies" / "0.mrc").read_bytes()
    frame_bytes = (len(original) - 1024) // 20
    with mounted(place, tmp_path / "mnt") as mount:
        with (mount / "Movies" / "0.mrc").open("rb", buffering=0) as file:
            for index in range(20):
                start = 1024 + index * frame_bytes
                if index == 3:
                    with pytest.raises(OSError, match="Input/output"):
                        os.pread(file.fileno(), 4096, start + frame_bytes // 2)
                else:
                    # skip the last page, which the damaged frame may share
                    assert os.pread(file.fileno(), 4096, start + 8192) == original[start + 8192 : start + 12288]
        assert (mount / "Movies" / "1.mrc").read_bytes() == (session / "Movies" / "1.mrc").read_bytes()
    log = (tmp_path / "mnt.log").read_text()
    assert f"{place}/Movies/0.mrc.tif, frame 3: damaged" in log
    assert "restore" in log


def test_a_missing_gain_reference_is_an_error_never_wrong_pixels(session: Path, tmp_path: Path) -> None:
    place = archive_copy(session, tmp_path / "archive")
    reference = place / "gain-reference.mrc"
    kept = reference.read_bytes()
    reference.write_bytes(kept[:-4] + b"\0\0\0\0")
    with mounted(place, tmp_path / "mnt") as mount:
        movie = mount / "Movies" / "0.mrc"
        assert movie.stat().st_size == (session / "Movies" / "0.mrc").stat().st_size
        with pytest.raises(OSError, match="Input/output"):
            movie.read_bytes()
        assert (mount / "notes.txt").read_text() == "300 kV"
        reference.write_bytes(kept)
        assert movie.read_bytes() == (session / "Movies" / "0.mrc").read_bytes()
    assert "gain reference" in (tmp_path / "mnt.log").read_text()


def test_a_truncated_movie_is_listed_and_its_reading_an_error(session: Path, tmp_path: Path) -> None:
    place = archive_copy(session, tmp_path / "archive")
    os.truncate(place / "Movies" / "0.mrc.tif", 100_000)
    with mounted(place, tmp_path / "mnt") as mount:
        assert sorted(os.listdir(mount / "Movies")) == ["0.mrc", "1.mrc"]
        assert (mount / "Movies" / "0.mrc").stat().st_size == 1
        with pytest.raises(OSError, match="Input/output"):
            (mount / "Movies" / "0.mrc").read_bytes()
        assert (mount / "Movies" / "1.mrc").read_bytes() == (session / "Movies" / "1.mrc").read_bytes()


def test_pages_are_kept_between_opens_of_the_same_file(session: Path, mount: Path) -> None:
    movie = mount / "Movies" / "0.mrc"
    first = movie.read_bytes()
    reads = facts_of(mount)["bytes_read"]
    assert movie.read_bytes() == first == (session / "Movies" / "0.mrc").read_bytes()
    # a kernel that evicts pages requests them again
    assert facts_of(mount)["bytes_read"] - reads < len(first) // 2
