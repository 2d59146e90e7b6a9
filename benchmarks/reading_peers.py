"""Ways to get at the bytes of movies: as they are, archived, packed by others. All are of the same movies.

What was packed stays below the folder of the movies, for the next time.
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
# bzip2 and the index of its file take minutes for a whole movie
BZ2_SHARE = 4
Mount = Callable[[Path], AbstractContextManager[float]]


@dataclass(frozen=True)
class Opened:
    """Movies that can be read.

    Parameters
    ----------
    paths : list of Path
        A file for each movie.
    stored : list of Path
        The files on the disk behind them.
    movie_bytes : int
        Bytes that reading a movie gives.
    mount_seconds : float or None
        What mounting took, where it had to be.
    read_all : callable
        Reads some of the paths whole, side by side, and gives the seconds.
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
        What tables call it.
    why_not : str or None
        Why it cannot be had here.
    prepare : callable
        Packs the movies; gives the seconds of a mount that is the first, where this one is another than later ones.
    opened : callable
        A context in which the movies can be read.
    loads : tuple of str or None
        The loads that make sense; None for all.
    again : bool
        Whether they are read a second time.
    """

    name: str
    why_not: str | None
    prepare: Callable[[], float | None]
    opened: Callable[[], AbstractContextManager[Opened]]
    loads: tuple[str, ...] | None = None
    again: bool = True


@dataclass(frozen=True)
class Session:
    """A folder, and the names of movies below it, all of the same size."""

    folder: Path
    movies: list[str]

    @property
    def originals(self) -> list[Path]:
        """Paths of the movies."""
        return [self.folder / name for name in self.movies]

    @property
    def archive(self) -> Path:
        """Where cryofs keeps them."""
        return self.folder / "archive"

    @property
    def archived(self) -> list[Path]:
        """Paths of the archived movies."""
        return [self.archive / f"{path.name}.tif" for path in self.originals]

    @property
    def movie_bytes(self) -> int:
        """Size of a movie."""
        return self.originals[0].stat().st_size

    def compress(self) -> None:
        """Archive what is not archived yet."""
        run([*CRYOFS, "compress", *self.movies, "-o", self.archive, "--only-do-unfinished"], self.folder)

    def packed(self, name: str) -> Path:
        """A file of another program."""
        (self.folder / "packed").mkdir(exist_ok=True)
        return self.folder / "packed" / name

    def open(self, mount: str, seconds: float, stored: list[Path]) -> Opened:
        """The movies below a mountpoint."""
        paths = [self.folder / mount / path.name for path in self.originals]
        paths = [path for path in paths if path.exists()]
        return Opened(paths, stored, paths[0].stat().st_size, seconds, cat)


def ways(session: Session, sequential: tuple[str, ...], part: tuple[str, ...], threads: tuple[str, ...]) -> list[Way]:
    """All ways, cryofs first.

    Parameters
    ----------
    sequential, part, threads : tuple of str
        Loads for a program that only reads in order, for a part of one movie, for threads that decode.
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
    return [
        Way(OURS, None, session.compress, mounted(of_cryofs, session.archived)),
        Way(RAW, None, nothing, _there(as_it_is)),
        Way(KERNEL_SQUASHFS, mounts.no_kernel_squashfs(), pack_image, mounted(of_kernel, [image])),
        Way(SQUASHFUSE, mounts.missing("mksquashfs", "squashfuse"), pack_image, mounted(of_fuse, [image])),
        Way(RATARMOUNT_ZST, without_rata or mounts.missing("pzstd"), index_zst, mounted(of_zst, zst)),
        Way(RATARMOUNT_BZ2, without_rata or mounts.missing("bzip2"), index_bz2, mounted(of_bz2, bz2), part, False),
        Way(ZSTD, mounts.missing("pzstd", "zstd"), pack_zst, _there(piped), sequential),
        Way(IN_PROCESS, None, nothing, _there(decoding), threads, False),
    ]


def cat(paths: Sequence[Path], program: Sequence[str] = ("cat",)) -> float:
    """Read files by a process each; seconds until the last one is done."""
    started = time.perf_counter()
    readers = [subprocess.Popen([*program, path], stdout=subprocess.DEVNULL) for path in paths]
    codes = [reader.wait() for reader in readers]
    seconds = time.perf_counter() - started
    if any(codes):
        sys.exit(f"{' '.join(program)} failed: {', '.join(map(str, paths))}")
    return seconds


def decode(paths: Sequence[Path]) -> float:
    """Decode archived movies by a thread each, in a process of its own; seconds without the start of it."""
    return apart(_decode, paths)


def _decode(paths: Sequence[Path]) -> float:
    started = time.perf_counter()
    with ThreadPoolExecutor(len(paths)) as threads:
        list(threads.map(_decode_one, paths))
    return time.perf_counter() - started


def _decode_one(path: Path) -> None:
    with open_movie(path) as movie:
        # as in a mount, memory that was used before takes the next frame
        memory = np.empty(movie.decoded_bytes(), np.uint8)
        for index in range(movie.layout.frames):
            movie.read_frame(index).decode(memory)


def _there(opened: Opened) -> Callable[[], AbstractContextManager[Opened]]:
    """What needs no opening."""
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
                # of many frames, among which one can be sought
                run(["pzstd", "-q", "-f", "-3", movie, "-o", draft], session.folder)


def _pack_bzip2(session: Session, path: Path) -> None:
    share = str(session.movie_bytes // BZ2_SHARE)
    with _draft(path) as draft:
        if draft:
            shell = 'head -c "$1" "$2" | bzip2 -c > "$3"'
            run(["sh", "-c", shell, "sh", share, session.movies[0], draft], session.folder)


@contextlib.contextmanager
def _draft(path: Path) -> Iterator[Path | None]:
    """What is to become a file; None where it is there already."""
    if path.exists():
        yield None
        return
    print(f"packing {path.name}", flush=True)
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    yield draft
    draft.rename(path)


def _index(pack: Callable[[], None], mount: Mount, packed: Sequence[Path]) -> float:
    """Pack; seconds of the first mount."""
    pack()
    for path in packed:
        path.with_name(f"{path.name}.index.sqlite").unlink(missing_ok=True)
    with mount(packed[0].parent.parent / "mount") as seconds:
        return seconds
