"""Movies that become archived movies and plain files again, many times, under programs that read and watch them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mounted.storing import Storing, movie, storing, wait_for
from tests.mounted.support import NEEDS_MOUNTS

pytestmark = NEEDS_MOUNTS
MOVIES = [f"{number}.mrc" for number in range(4)]

# Reads the movies until its input ends. Any error ends it, SIGBUS too.
READER = """
import mmap, os, pathlib, select, sys

mount, plain, *names = sys.argv[1:]
expected = {name: pathlib.Path(plain, name).read_bytes() for name in names}
files = {name: open(pathlib.Path(mount, name), "rb", buffering=0) for name in names}
maps = {name: mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) for name, file in files.items()}
rounds = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    for name, data in expected.items():
        path, file = pathlib.Path(mount, name), files[name].fileno()
        start = rounds * 4096 % len(data)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        maps[name].madvise(mmap.MADV_DONTNEED)
        assert maps[name][start:] + maps[name][:start] == data[start:] + data[:start], (name, "map")
        assert os.pread(file, len(data) + 1, 0) == data, (name, "open file")
        assert path.read_bytes() == data, (name, "file")
        with path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            assert mapped[start:] == data[start:], (name, "new map")
        assert path.stat().st_size == os.fstat(file).st_size == len(data), (name, "size")
    rounds += 1
    print(rounds, flush=True)
"""


def switch(place: Storing, times: int) -> None:
    """Write some bytes of each archived movie again, which makes it plain for a while, some times."""
    for number in range(times):
        place.wait()
        for name in MOVIES:
            data = (place.plain / name).read_bytes()
            start = number * 999 % (len(data) - 100)
            with (place.mount / name).open("r+b", buffering=0) as writer:
                os.pwrite(writer.fileno(), data[start : start + 100], start)
                assert (place.archive / name).exists()
    place.wait()


def run(place: Storing, switches: int) -> None:
    for seed, name in enumerate(MOVIES):
        place.write(name, movie(seed))
    command = [sys.executable, "-c", READER, str(place.mount), str(place.plain), *MOVIES]
    readers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    try:
        assert all(reader.stdout and reader.stdout.readline() for reader in readers)
        switch(place, switches // len(MOVIES) // 2)
    finally:
        ended = [reader.communicate(b"end") for reader in readers]
    assert [reader.returncode for reader in readers] == [0, 0], ended


@pytest.mark.parametrize("switches", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_readers_see_no_switch(switches: int, tmp_path: Path) -> None:
    with storing(tmp_path) as place:
        run(place, switches)


def test_programs_that_wait_for_a_finished_file_see_no_change(tmp_path: Path) -> None:
    # Scipion and Murfey compare size and modification time of a file, found by name, now and some time later
    with storing(tmp_path) as place:
        for seed, name in enumerate(MOVIES):
            place.write(name, movie(seed))
            seen: set[tuple[int, int]] = set()

            def look(name: str = name, seen: set[tuple[int, int]] = seen) -> bool:
                for entry in os.scandir(place.mount):
                    if entry.name == name:
                        found = entry.stat()
                        seen.add((found.st_size, found.st_mtime_ns))
                found = (place.mount / name).stat()
                seen.add((found.st_size, found.st_mtime_ns))
                return (place.archive / f"{name}.tif").exists() and not (place.archive / name).exists()

            wait_for(look)
            look()
            assert len(seen) == 1, seen
        assert sorted(os.listdir(place.mount)) == MOVIES
