"""Ways of reading the same movies: original files, archived movies, and files packed by other programs.

Packed files are kept in the folder of the movies for the next run.
"""

import contextlib
import functools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import mounts
from benchmarks.competitors import OURS
from benchmarks.measure import CRYOFS, apart, run
from cryofs.movies.registry import open_movie

RAW, KERNEL_SQUASHFS, SQUASHFUSE = "raw file", "squashfs, kernel", "squashfuse"
ZSTD, RATARMOUNT_ZST, RATARMOUNT_BZ2, IN_PROCESS = (
    "zstd -dc",
    "ratarmount .zst",
    "ratarmount .bz2",
    "in-process decoding",
)
SQUASHFS_OPTIONS = ("-comp", "zstd", "-Xcompression-level", "3", "-b", "128K", "-quiet", "-no-progress")
# settings that might read faster than the default ones
SETTINGS = ("--readahead 1280KiB", "--readahead 4MiB", "--jobs 1")
# bzip2 and its index take minutes for a whole movie
BZ2_SHARE = 4
Mount = Callable[[Path], AbstractContextManager[float]]


@dataclass(frozen=True)
class Opened:
    """Movies ready to be read.

    Parameters
    ----------
    paths : list of Path
        One file per movie.
    stored : list of Path
        Files on the disk that contain the data.
    movie_bytes : int
        Size of a movie as read, in bytes.
    mount_seconds : float or None
        Time to mount in seconds; None without a mount.
    read_all : callable
        Function that reads whole files in parallel and returns the seconds.
    """

    paths: list[Path]
    stored: list[Path]
    movie_bytes: int
    mount_seconds: float | None
    read_all: Callable[[Sequence[Path]], float]


@dataclass(frozen=True)
class Way:
    """A way to read movies.

    Parameters
    ----------
    name : str
        Name in tables.
    why_not : str or None
        Reason why the way is not available on this machine; None if it is.
    prepare : callable
        Function that packs the movies; it returns the seconds of the first mount if these differ from later mounts.
    opened : callable
        Context manager that yields the readable movies.
    loads : tuple of str or None
        Applicable loads; None for all.
    again : bool
        Whether loads are measured again with warm caches.
    """

    name: str
    why_not: str | None
    prepare: Callable[[], float | None]
    opened: Callable[[], AbstractContextManager[Opened]]
    loads: tuple[str, ...] | None = None
    again: bool = True


@dataclass(frozen=True)
class Session:
    """A folder with movies of equal size, and their names."""

    folder: Path
    movies: list[str]

    @property
    def originals(self) -> list[Path]:
        """Paths of the movies."""
        return [self.folder / name for name in self.movies]

    @property
    def archive(self) -> Path:
        """Folder of the archive."""
        return self.folder / "archive"

    @property
    def archived(self) -> list[Path]:
        """Paths of the archived movies."""
        return [self.archive / f"{path.name}.tif" for path in self.originals]

    @property
    def movie_bytes(self) -> int:
        """Size of a movie in bytes."""
        return self.originals[0].stat().st_size

    def compress(self) -> None:
        """Compress the movies that are not yet archived."""
        run([*CRYOFS, "compress", *self.movies, "-o", self.archive, "--only-do-unfinished"], self.folder)

    def packed(self, name: str) -> Path:
        """Return the path of a file packed by another program."""
        (self.folder / "packed").mkdir(exist_ok=True)
        return self.folder / "packed" / name

    def open(self, mount: str, seconds: float, stored: list[Path]) -> Opened:
        """Return the movies below a mountpoint."""
        paths = [self.folder / mount / path.name for path in self.originals]
        paths = [path for path in paths if path.exists()]
        return Opened(paths, stored, paths[0].stat().st_size, seconds, cat)


def ways(session: Session, sequential: tuple[str, ...], part: tuple[str, ...], threads: tuple[str, ...]) -> list[Way]:
    """Return all ways, cryofs first.

    Parameters
    ----------
    sequential, part, threads : tuple of str
        Names of the loads for sequential programs, for a part of one movie, and for decoding threads.
    """
    zst = [session.packed(f"{path.name}.zst") for path in session.originals]
    bz2 = [session.packed(f"{session.originals[0].name}.bz2")]
    image = session.packed("movies.squashfs")
    of_kernel = functools.partial(mounts.kernel_squashfs, image)
    of_fuse = functools.partial(mounts.squashfuse, image)
    of_zst, of_bz2 = (functools.partial(mounts.ratarmount, packed) for packed in (zst, bz2))
    of_cryofs = functools.partial(mounts.cryofs_at_rest, session.archive)

    def mounted(mount: Mount, stored: list[Path]) -> Callable[[], AbstractContextManager[Opened]]:
        return functools.partial(_mounted, session, mount, stored)

    def nothing() -> None:
        return None

    as_it_is = Opened(session.originals, session.originals, session.movie_bytes, None, cat)
    piped = Opened(zst, zst, session.movie_bytes, None, functools.partial(cat, program=("zstd", "-dc")))
    decoding = Opened(session.archived, session.archived, session.movie_bytes, None, decode)
    pack_image = functools.partial(_pack_squashfs, session, image)
    pack_zst = functools.partial(_pack_zstd, session, zst)
    index_zst = functools.partial(_index, pack_zst, of_zst, zst)
    index_bz2 = functools.partial(_index, functools.partial(_pack_bzip2, session, bz2[0]), of_bz2, bz2)
    without_rata = mounts.no_ratarmount()

    def with_setting(setting: str) -> Way:
        mount = functools.partial(of_cryofs, options=setting.split())
        return Way(f"{OURS}, {setting}", None, nothing, mounted(mount, session.archived))

    return [
        Way(OURS, None, session.compress, mounted(of_cryofs, session.archived)),
        *map(with_setting, SETTINGS),
        Way(RAW, None, nothing, _there(as_it_is)),
        Way(KERNEL_SQUASHFS, mounts.no_kernel_squashfs(), pack_image, mounted(of_kernel, [image])),
        Way(SQUASHFUSE, mounts.missing("mksquashfs", "squashfuse"), pack_image, mounted(of_fuse, [image])),
        Way(RATARMOUNT_ZST, without_rata or mounts.missing("pzstd"), index_zst, mounted(of_zst, zst)),
        Way(RATARMOUNT_BZ2, without_rata or mounts.missing("bzip2"), index_bz2, mounted(of_bz2, bz2), part, False),
        Way(ZSTD, mounts.missing("pzstd", "zstd"), pack_zst, _there(piped), sequential),
        Way(IN_PROCESS, None, nothing, _there(decoding), threads, False),
    ]


def cat(paths: Sequence[Path], program: Sequence[str] = ("cat",)) -> float:
    """Read files with one process each; return the seconds until the last process ends."""
    started = time.perf_counter()
    readers = [subprocess.Popen([*program, path], stdout=subprocess.DEVNULL) for path in paths]
    codes = [reader.wait() for reader in readers]
    seconds = time.perf_counter() - started
    if any(codes):
        sys.exit(f"{' '.join(program)} failed: {', '.join(map(str, paths))}")
    return seconds


def decode(paths: Sequence[Path]) -> float:
    """Decode archived movies with one thread each in a separate process; return the seconds, excluding its start."""
    return apart(_decode, paths)


def _decode(paths: Sequence[Path]) -> float:
    started = time.perf_counter()
    with ThreadPoolExecutor(len(paths)) as threads:
        list(threads.map(_decode_one, paths))
    return time.perf_counter() - started


def _decode_one(path: Path) -> None:
    with open_movie(path) as movie:
        # reuse memory for the next frame, like a mount
        memory = np.empty(movie.decoded_bytes(), np.uint8)
        for index in range(movie.layout.frames):
            movie.read_frame(index).decode(memory)


def _there(opened: Opened) -> Callable[[], AbstractContextManager[Opened]]:
    """Return a context manager factory for movies that do not need a mount."""
    return lambda: contextlib.nullcontext(opened)


@contextlib.contextmanager
def _mounted(session: Session, mount: Mount, stored: list[Path]) -> Iterator[Opened]:
    with mount(session.folder / "mount") as seconds:
        yield session.open("mount", seconds, stored)


def _pack_squashfs(session: Session, image: Path) -> None:
    with _draft(image) as draft:
        if draft:
            run(["mksquashfs", *session.movies, draft, "-noappend", *SQUASHFS_OPTIONS], session.folder)


def _pack_zstd(session: Session, packed: Sequence[Path]) -> None:
    for movie, path in zip(session.movies, packed, strict=True):
        with _draft(path) as draft:
            if draft:
                # pzstd writes many independent frames, which makes the file seekable
                run(["pzstd", "-q", "-f", "-3", movie, "-o", draft], session.folder)


def _pack_bzip2(session: Session, path: Path) -> None:
    share = str(session.movie_bytes // BZ2_SHARE)
    with _draft(path) as draft:
        if draft:
            shell = 'head -c "$1" "$2" | bzip2 -c > "$3"'
            run(["sh", "-c", shell, "sh", share, session.movies[0], draft], session.folder)


@contextlib.contextmanager
def _draft(path: Path) -> Iterator[Path | None]:
    """Yield a temporary path for a file to create, or None if the file exists."""
    if path.exists():
        yield None
        return
    print(f"packing {path.name}", flush=True)
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    yield draft
    draft.rename(path)


def _index(pack: Callable[[], None], mount: Mount, packed: Sequence[Path]) -> float:
    """Pack the movies; return the seconds of the first mount."""
    pack()
    for path in packed:
        path.with_name(f"{path.name}.index.sqlite").unlink(missing_ok=True)
    with mount(packed[0].parent.parent / "mount") as seconds:
        return seconds
