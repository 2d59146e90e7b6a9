"""Several cameras write movies through a mount while a dozen programs read them, and the mount archives them."""

import contextlib
import mmap
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulate import header
from tests.mounted.storing import wait_for
from tests.mounted.support import NEEDS_MOUNTS, wait_for_unlocked
from tests.outcomes import verified
from tests.support import mounted

pytestmark = NEEDS_MOUNTS
CAMERAS = 3
# a camera: copies its movies, one after the other, and lists each once it is complete
WRITER = """
for path in "$1/$3"/*.mrc; do
    cp "$path" "$2/$3/" || echo "cp $path" >> "$1/problems"
    echo "$3/${path##*/}" >> "$1/listed"
done
"""
# a program that reads all listed movies again and again, and leaves some of the processor to others
READER = """
while :; do
    while read -r name; do
        $3 || echo "$3 $name" >> "$1/problems"
    done < "$1/listed"
    sleep 0.3
done
"""
READS = ('cmp "$1/$name" "$2/$name"', 'cat "$2/$name" | cmp "$1/$name" -')


def write_movies(source: Path, count: int, shape: tuple[int, int, int]) -> None:
    """The movies of each camera; their frames are few random ones, moved."""
    rng = np.random.default_rng(0)
    frames = [rng.poisson(1, shape[1:]).astype("<i2") for _ in range(3)]
    for camera in map(str, range(CAMERAS)):
        (source / camera).mkdir(parents=True)
        for number in range(count):
            with (source / camera / f"{number}.mrc").open("wb") as file:
                file.write(header(shape, 1))
                for index in range(shape[0]):
                    file.write(np.roll(frames[index % 3], number + index).tobytes())
    for name in ("listed", "problems"):
        (source / name).touch()


@contextlib.contextmanager
def running(scripts: list[str], *arguments: object) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run shell scripts, and end them with their children."""
    programs = [
        subprocess.Popen(["sh", "-c", script, "sh", *map(str, arguments)], start_new_session=True) for script in scripts
    ]
    try:
        yield programs
    finally:
        for program in programs:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            program.wait()


@contextlib.contextmanager
def mapping(source: Path, mount: Path, threads: int) -> Iterator[None]:
    """Keep all listed movies mapped, and compare the maps again and again."""
    is_ended = threading.Event()

    def work() -> None:
        maps: dict[str, mmap.mmap] = {}
        while not is_ended.wait(0.3):
            for name in (source / "listed").read_text().split():
                if name not in maps:
                    with (mount / name).open("rb") as file:
                        maps[name] = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
                with (source / name).open("rb") as file:
                    if any(maps[name][begin : begin + len(data)] != data for begin, data in pieces(file.fileno())):
                        (source / "problems").write_text(f"map of {name}")
        for mapped in maps.values():
            mapped.close()

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        is_ended.set()
        for worker in workers:
            worker.join()


def pieces(descriptor: int) -> Iterator[tuple[int, bytes]]:
    begin = 0
    while data := os.pread(descriptor, 1 << 22, begin):
        yield begin, data
        begin += len(data)


def hold_session(base: Path, count: int, shape: tuple[int, int, int], seconds: float) -> None:
    source, archive, names = base / "source", base / "archive", {f"{number}.mrc" for number in range(count)}
    write_movies(source, count, shape)
    for camera in range(CAMERAS):
        (archive / str(camera)).mkdir(parents=True)
    with mounted(archive, base / "mnt", "-o", "writable,settle=0,ingest_jobs=1") as mount:
        readers = [READER.replace("$3", read) for read in READS for _ in range(5)]
        writers = [WRITER.replace("$3", str(camera)) for camera in range(CAMERAS)]
        # compiles what is not compiled yet, which would take long among the readers
        shutil.copy(source / "0" / "0.mrc", mount / "first.mrc")
        wait_for(lambda: not (archive / "first.mrc").exists())
        with running(readers, source, mount), mapping(source, mount, 2):
            with running(writers, source, mount) as cameras:
                assert [camera.wait(600) for camera in cameras] == [0] * CAMERAS
            # programs that read a movie all the time do not keep it from being archived
            until = time.monotonic() + seconds
            while list(archive.rglob("*.mrc")):
                assert time.monotonic() < until
                time.sleep(0.05)
        for camera in range(CAMERAS):
            assert {path.name for path in (mount / str(camera)).iterdir()} == names
            for name in names:
                subprocess.run(["cmp", source / str(camera) / name, mount / str(camera) / name], check=True)
    assert (source / "problems").read_text() == ""
    wait_for_unlocked(archive)
    assert len(list(archive.rglob("*.mrc.tif"))) == CAMERAS * count + 1
    assert not verified(archive)[1]


def test_cameras_and_readers_at_once(tmp_path: Path) -> None:
    hold_session(tmp_path, 4, (8, 256, 300), 200)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_cameras_and_readers_of_large_movies(tmp_path: Path) -> None:
    hold_session(tmp_path, 1, (20, 3710, 3838), 1800)
