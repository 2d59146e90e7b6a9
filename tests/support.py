"""Helpers for tests of several rooms: sample movies, a run of compress, a mount."""

import contextlib
import io
import math
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from benchmarks.simulate import Detector, header, write_movie
from cryofs.archive.identify import held_movie
from cryofs.cli.app import run
from cryofs.compress.movie_task import CompressOptions
from cryofs.compress.run import compress
from cryofs.compress.summary import Summary
from cryofs.gain.estimation import FrameRow
from cryofs.storage.atomic_file import draft_path, forget
from cryofs.storage.checksum_lists import LIST_NAME
from cryofs.vfs.attributes import Attributes
from cryofs.vfs.file_system import FileSystem
from cryofs.vfs.listing import Listed
from tests import all_mounts
from tests.outcomes import extracted, verified

SHAPE = (300, 257)
DETECTOR = Detector.make(SHAPE, defects=20)
REAL_DATA = Path(__file__).parents[2] / "shared" / "data"


class Reported:
    """A listener that records what a run reports."""

    def __init__(self) -> None:
        self.rows: list[FrameRow] = []
        self.done: list[Path] = []
        self.errors: dict[Path, Exception] = {}
        self.notes: list[str] = []
        self.expected_frames = 0
        self.counted_frames = 0

    def begin(self, movies: int, frames: int) -> None:
        self.expected_frames = frames

    def frame_row(self, row: FrameRow) -> None:
        self.rows.append(row)

    def frames(self, count: int) -> None:
        self.counted_frames += count

    def movie_done(self, name: Path, original_bytes: int, stored_bytes: int) -> None:
        self.done.append(name)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def failed(self, name: Path, error: Exception) -> None:
        self.errors[name] = error


def archive(source: Path, target: Path, options: CompressOptions | None = None) -> tuple[Summary, Reported]:
    """Compress a source into an archive; movies are archived as such, even if they do not get smaller."""
    reported = Reported()
    options = replace(options or CompressOptions(jobs=2), least_saving=-math.inf)
    return compress([source], target, options, reported), reported


def simulated(path: Path, frames: int = 12, seed: int = 0, detector: Detector = DETECTOR) -> Path:
    """A gain-normalised movie."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_movie(path, detector, frames, seed=seed)
    return path


def written_movie(path: Path, seed: int = 0, shape: tuple[int, int, int] = (3, 60, 50)) -> Path:
    """A small movie of counts (int16)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).poisson(1, shape).astype("<i2")
    path.write_bytes(header(shape, 1) + values.tobytes())
    return path


def movie_values(frames: int = 12, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Values of a gain-normalised movie, shape (frames, ny, nx)."""
    return np.stack(list(DETECTOR.frames(frames, seed=seed)))


def same_tree(originals: Path, shown: Path, *, ignore: str = "") -> None:
    """Assert that two folders hold the same files, byte for byte, with the same sizes, times and modes.

    Files of the second that are called `ignore`, as the checksum lists of an archive, need not be in the first.
    """
    names = sorted(path.relative_to(originals) for path in originals.rglob("*"))
    assert sorted(path.relative_to(shown) for path in shown.rglob("*") if path.name != ignore) == names
    for name in names:
        one, other = originals / name, shown / name
        if one.is_symlink():
            assert other.readlink() == one.readlink()
            continue
        expected, found = one.stat(), other.stat()
        assert (found.st_mode, found.st_mtime_ns) == (expected.st_mode, expected.st_mtime_ns), name
        if one.is_file():
            assert found.st_size == expected.st_size, name
            assert other.read_bytes() == one.read_bytes(), name


def names(folder: Path) -> list[str]:
    """Files below a folder, without the checksum lists of an archive."""
    paths = [path for path in folder.rglob("*") if not path.is_dir() and path.name != LIST_NAME]
    return sorted(str(path.relative_to(folder)) for path in paths)


def assert_verified(folder: Path, movies: int, *, all_have_checksums: bool = False) -> None:
    """Assert that an archive holds so many movies, all of them whole, and no file that fails."""
    checked, errors = verified(folder)
    assert not errors
    assert checked.movies == movies
    assert not (all_have_checksums and checked.without_checksum)


def keep_group_out(path: Path) -> None:
    """Give a file or folder an access list: user 1 may read it, its group may not; its mode shows that both may."""
    # tag, permissions, id: owner, user 1, group, mask, others
    entries = [(1, 7, -1), (2, 5, 1), (4, 0, -1), (16, 5, -1), (32, 0, -1)]
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", packed)
    except OSError as error:
        pytest.skip(f"no access lists here ({error.strerror})")


def restored(target: Path, folder: Path) -> Path:
    """A folder with the originals of an archive."""
    assert not extracted(target, to=folder)[1]
    return folder


def same_archive(one: Path, other: Path) -> None:
    """Assert that two archives hold the same, but for the times of reading in records, and the times of files."""
    assert sorted(path.relative_to(one) for path in one.rglob("*")) == sorted(
        path.relative_to(other) for path in other.rglob("*")
    )
    for path in (path for path in one.rglob("*") if path.is_file()):
        twin = other / path.relative_to(one)
        assert (path.stat().st_mode, path.stat().st_nlink) == (twin.stat().st_mode, twin.stat().st_nlink)
        if (record := held_movie(path)) is None:
            assert path.read_bytes() == twin.read_bytes(), path
            continue
        pages = min(frame.offsets[0] for frame in record.frames), max(frame.offsets[-1] for frame in record.frames)
        assert path.read_bytes()[slice(*pages)] == twin.read_bytes()[slice(*pages)], path
        found = held_movie(twin)
        assert found is not None
        original = msgspec.structs.replace(found.original, atime_ns=record.original.atime_ns)
        assert msgspec.structs.replace(found, original=original) == record, path


def left_draft(folder: Path) -> Path:
    """A draft that a run left, as its name says."""
    path = draft_path(folder / "any")
    forget(path)
    path.write_bytes(b"left behind")
    return path


def put_back(path: Path, data: bytes) -> None:
    """Overwrite a file in place, and give it its old time."""
    before = path.stat()
    # the clock of change times ticks every few milliseconds
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        with path.open("r+b") as file:
            file.write(data)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def wait_for(what: Callable[[], Any]) -> Any:
    """Return the first true result of a function."""
    deadline = time.monotonic() + 30
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return found


def run_in_process(*arguments: object, check: bool = True, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in the process of the tests, which is much faster than `cryofs`.

    For commands that involve no mount, no signal and no other user, and whose environment is that of the tests.
    """
    words = [str(argument) for argument in arguments]
    output, errors = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    handler = signal.getsignal(signal.SIGINT)
    try:
        with (
            all_mounts.queried() if "doctor" in words[:1] else contextlib.nullcontext(),
            contextlib.chdir(cwd or Path.cwd()),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
        ):
            code = run(words)
    finally:
        signal.signal(signal.SIGINT, handler)
    printed, errors_printed = (stream.buffer.getvalue().decode() for stream in (output, errors))
    done = subprocess.CompletedProcess(["cryofs", *words], code, printed, errors_printed)
    if check:
        done.check_returncode()
    return done


def cryofs(*arguments: object, check: bool = True, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would, in a process of its own."""
    command = [sys.executable, "-m", "cryofs", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=check, **options)  # type: ignore[call-overload,no-any-return]


# At the start of a shell script in a mount namespace of its own: the copies of mounts that other tests make meanwhile
# would keep these alive. `$1` may be the place of a mount that stays.
DETACH_MOUNTS = """
while read -r _ _ _ _ place _ rest; do
    case "$rest" in
        *"- fuse.cryofs "*) place=$(printf '%b' "$place"); [ "$place" = "${1:-}" ] || umount --lazy "$place" ;;
    esac
done < /proc/self/mountinfo 2> /dev/null
"""


@contextlib.contextmanager
def mounted(source: Path, mountpoint: Path, *options: object) -> Iterator[Path]:
    """An archive mounted, and unmounted again."""
    mountpoint.mkdir(exist_ok=True)
    done = cryofs("mount", source, mountpoint, "--log-file", mountpoint.with_suffix(".log"), *options, check=False)
    assert done.returncode == 0, done.stderr
    try:
        yield mountpoint
    finally:
        run_in_process("umount", mountpoint)


@contextlib.contextmanager
def tmpfs(folder: Path, size: str = "50%") -> Iterator[Path]:
    """Mount an empty file system on a folder, which takes root, and unmount it again."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def movies_star(name: str, pixel_size: float) -> str:
    """A STAR file of one movie, as RELION imports it."""
    return f"""
# version 30001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographOriginalPixelSize #3
_rlnVoltage #4
_rlnSphericalAberration #5
_rlnAmplitudeContrast #6
opticsGroup1 1 {pixel_size} 300 2.7 0.1

# version 30001

data_movies

loop_
_rlnMicrographMovieName #1
_rlnOpticsGroup #2
{name} 1
"""


def listed_in(files: FileSystem, path: str) -> list[tuple[str, Attributes]]:
    """The names in a folder of a file system, with attributes of which type and inode are right."""
    return [(entry.name, entry.attributes) for entry in entries(files, path)]


def entries(files: FileSystem, path: str) -> list[Listed]:
    """The entries of a folder without "." and "..", from a listing that is read to its end."""
    listing = files.listing(path)
    found: list[Listed] = []
    while group := files.listed(listing, found[-1].next if found else 0):
        found += group
    assert [entry.name for entry in found[:2]] == [".", ".."]
    return found[2:]


__all__ = [
    "DETACH_MOUNTS",
    "DETECTOR",
    "REAL_DATA",
    "SHAPE",
    "Reported",
    "archive",
    "assert_verified",
    "cryofs",
    "header",
    "keep_group_out",
    "left_draft",
    "mounted",
    "movie_values",
    "movies_star",
    "names",
    "restored",
    "run_in_process",
    "same_archive",
    "same_tree",
    "simulated",
    "tmpfs",
    "wait_for",
    "written_movie",
]
