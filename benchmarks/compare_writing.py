"""Compare writing through a writable mount with the same disk, and archiving there with `cryofs compress`."""

import functools
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import mounts
from benchmarks.competitors import OURS
from benchmarks.figures import RATE, Reading
from benchmarks.measure import CRYOFS, run, warm
from benchmarks.mount_processes import MountProcesses
from benchmarks.reading_peers import Session
from benchmarks.readings import WRITING, Readings, in_turn

DISK, COMPRESS = "the same disk", "cryofs compress"
# so long that nothing is archived during a measurement
_NEVER = ("-o", "settle=86400")
_AT_ONCE = ("-o", "settle=0")
_COPIES = {
    "dd bs=1M conv=fsync": 'dd if="$1" of="$2" bs=1M conv=fsync status=none',
    "cp, then sync -f": 'cp "$1" "$2" && sync -f "$2"',
}
_FILE_BYTES, _FILES_A_FOLDER = 4096, 100
_POLL_SECONDS = 0.02
_LIMIT_SECONDS = 600
# processor time that shows that a movie is being archived
_BUSY_SECONDS = 1.0


def write(session: Session, files: int, runs: int) -> list[Reading]:
    """Measure writing a movie and a tree of small files, and archiving a movie that was written."""
    session.compress()
    readings = Readings(WRITING)
    folder = session.folder / "writing"
    for name in ("archive", "mount", "disk"):
        (folder / name).mkdir(parents=True)
    # reference of the movies, so that each is archived at once
    reference = next(session.archive.glob("gain-reference*.mrc"))
    shutil.copy(reference, folder / "archive")
    try:
        for what, command in _COPIES.items():
            _copy(folder, session.originals[0], readings, what, command, runs)
        _copy_while_archiving(folder, session.originals[0], readings, runs)
        for close in ("fast", "durable"):
            _copy_tree(folder, files, readings, close, runs)
        _archive(folder, session.originals[0], readings, runs)
    finally:
        shutil.rmtree(folder)
    return readings.all()


@contextmanager
def _mounted(folder: Path, *options: str) -> Iterator[Path]:
    with mounts.cryofs(folder / "archive", folder / "mount", "--writable", *options):
        yield folder / "mount"


def _seconds(command: str, source: Path, target: Path) -> float:
    """Return the seconds of a shell command with a source that is in the page cache; the target is removed."""
    warm([source] if source.is_file() else source.rglob("*.*"))
    seconds = run(["sh", "-c", command, "sh", source, target], source.parent).seconds
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink()
    return seconds


def _copy(folder: Path, movie: Path, readings: Readings, what: str, command: str, runs: int) -> None:
    size = movie.stat().st_size

    def copy(way: str, target: Path) -> None:
        readings.add(what, way, RATE, size / _seconds(command, movie, target / "x.mrc") / 1e9)

    def ours() -> None:
        with _mounted(folder, *_NEVER) as mount:
            copy(OURS, mount)

    in_turn(runs, {OURS: ours, DISK: functools.partial(copy, DISK, folder / "disk")})


def _copy_while_archiving(folder: Path, movie: Path, readings: Readings, runs: int) -> None:
    """Write a file that is not a movie while another movie is being archived."""
    (name, command), *_ = _COPIES.items()
    what, size = f"{name}, while a movie is archived", movie.stat().st_size

    def copy(way: str, target: Path) -> None:
        readings.add(what, way, RATE, size / _seconds(command, movie, target / "x.dat") / 1e9)

    def ours() -> None:
        shutil.copy(movie, folder / "archive" / "earlier.mrc")
        with _mounted(folder, *_AT_ONCE) as mount:
            processes = MountProcesses(mount)
            _wait(lambda: processes.core_seconds() > _BUSY_SECONDS or _is_archived(folder, "earlier.mrc"))
            copy(OURS, mount)
            _wait(lambda: _is_archived(folder, "earlier.mrc"))
            (mount / "earlier.mrc").unlink()

    in_turn(runs, {OURS: ours, DISK: functools.partial(copy, DISK, folder / "disk")})


def _copy_tree(folder: Path, files: int, readings: Readings, close: str, runs: int) -> None:
    what, source = f"cp -r of {files:,} files, close={close}", folder / "tree"
    if not source.exists():
        write_tree(source, files)

    def copy(way: str, target: Path) -> None:
        readings.add(what, way, "s", _seconds('cp -r "$1" "$2"', source, target / "tree"))

    def ours() -> None:
        with _mounted(folder, *_NEVER, "-o", f"close={close}") as mount:
            copy(OURS, mount)

    in_turn(runs, {OURS: ours, DISK: functools.partial(copy, DISK, folder / "disk")})


def write_tree(folder: Path, files: int) -> None:
    """Write small files, a hundred in each folder."""
    for number in range(files):
        path = folder / f"{number // _FILES_A_FOLDER:03}" / f"{number:05}.dat"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(number.to_bytes(4, "little") * (_FILE_BYTES // 4))


def _archive(folder: Path, movie: Path, readings: Readings, runs: int) -> None:
    """Archive a movie that was written through a mount, and the same one with a command."""
    size, what = movie.stat().st_size, "archiving a movie"
    (reference,) = (folder / "archive").glob("gain-reference*.mrc")

    def keep(way: str, seconds: float, core_seconds: float) -> None:
        readings.add(what, way, RATE, size / seconds / 1e9)
        readings.add(f"{what}, core-seconds", way, "s", core_seconds)

    def ours() -> None:
        with _mounted(folder, *_AT_ONCE) as mount:
            processes = MountProcesses(mount)
            # mounts run for days, so the start of the processes does not count
            for name in ("first.mrc", "second.mrc"):
                shutil.copy(movie, mount / "written.dat")
                used, started = processes.core_seconds(), time.perf_counter()
                (mount / "written.dat").rename(mount / name)
                _wait(functools.partial(_is_archived, folder, name))
                seconds = time.perf_counter() - started
                used = processes.core_seconds() - used
                (mount / name).unlink()
            keep(OURS, seconds, used)

    def command() -> None:
        target = folder / "compressed"
        done = run([*CRYOFS, "compress", movie, "-o", target, "--gain", reference], folder)
        keep(COMPRESS, done.seconds, done.core_seconds)
        shutil.rmtree(target)

    in_turn(runs, {OURS: ours, COMPRESS: command})


def _is_archived(folder: Path, name: str) -> bool:
    archive = folder / "archive"
    return (archive / f"{name}.tif").exists() and not (archive / name).exists()


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + _LIMIT_SECONDS
    while not condition():
        if time.monotonic() > until:
            raise SystemExit("a movie that was written through the mount was not archived; see the log of the mount")
        time.sleep(_POLL_SECONDS)
