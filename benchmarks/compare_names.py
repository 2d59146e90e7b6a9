"""Measure listings and attributes of many movies, also while all cores decode."""

import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import mounts
from benchmarks.competitors import OURS
from benchmarks.figures import READING_NOTE, Reading
from benchmarks.measure import CRYOFS, forget, run
from benchmarks.reading_loads import MOVIES
from benchmarks.reading_peers import KERNEL_SQUASHFS, SQUASHFS_OPTIONS, Session
from benchmarks.readings import NAMES, Readings, in_turn
from benchmarks.simulate import write_counts
from cryofs.vfs.index_db import index_path

ITSELF = "archive itself"
_A_FOLDER = 1000
_DIFFERENT = 4
_STATS = 5000
_STAT_SECONDS = 10
_SURVEY_SECONDS = 600


@dataclass(frozen=True)
class Many:
    """An archive of many very small movies, in one folder and in a tree, and of large movies of another archive.

    Parameters
    ----------
    folder : Path
        Folder of the archive and its mount.
    flat, tree : int
        Number of movies in one folder, and in a tree of folders of a thousand.
    """

    folder: Path
    flat: int
    tree: int

    @property
    def archive(self) -> Path:
        """Folder of the archive."""
        return self.folder / f"archive-{self.flat}-{self.tree}"

    @property
    def mount(self) -> Path:
        """Mountpoint."""
        return self.folder / "mount"

    def make(self) -> None:
        """Compress a few movies and copy the result many times."""
        if self.archive.exists():
            return
        print(f"{self.flat + self.tree} small movies", flush=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "few").mkdir(parents=True)
        few = [self.folder / "few" / f"{number}.mrc" for number in range(_DIFFERENT)]
        for seed, path in enumerate(few):
            write_counts(path, 2, (32, 32), seed=seed)
        run([*CRYOFS, "compress", *few, "-o", self.folder / "small"], self.folder)
        small = sorted((self.folder / "small").glob("*.mrc.tif"))
        draft = self.folder / "draft"
        names = [f"flat/movie-{number:06}.mrc.tif" for number in range(self.flat)]
        names += [f"tree/{number // _A_FOLDER:03}/movie-{number:06}.mrc.tif" for number in range(self.tree)]
        for folder in dict.fromkeys((draft / name).parent for name in names):
            folder.mkdir(parents=True)
        for number, name in enumerate(names):
            shutil.copyfile(small[number % _DIFFERENT], draft / name)
        draft.rename(self.archive)

    def add_large(self, archive: Path) -> None:
        """Hard-link the movies of another archive into this one."""
        (self.archive / "large").mkdir(exist_ok=True)
        for path in archive.iterdir():
            name = self.archive / "large" / path.name
            name.unlink(missing_ok=True)
            name.hardlink_to(path)


def list_names(many: Many, runs: int, notes: list[str]) -> list[Reading]:
    """Measure programs that list movies: without the index of an earlier mount, with it, and again."""
    readings = Readings(NAMES)
    image = many.folder / f"{many.archive.name}.squashfs"
    openers: dict[str, Callable[[], AbstractContextManager[float | None]]] = {
        OURS: functools.partial(mounts.cryofs, many.archive, many.mount),
        ITSELF: contextlib.nullcontext,
    }
    if why_not := mounts.no_kernel_squashfs():
        notes.append(f"{READING_NOTE}{KERNEL_SQUASHFS}: {why_not}.")
    else:
        if not image.exists():
            run(["mksquashfs", many.archive, image, "-noappend", *SQUASHFS_OPTIONS, "-e", "large"], many.folder)
        openers[KERNEL_SQUASHFS] = functools.partial(mounts.kernel_squashfs, image, many.mount)
    # whether fewer threads, or a mount that has started long ago, list faster
    others: dict[str, Callable[[], AbstractContextManager[float | None]]] = {
        f"{OURS}, --jobs 1": functools.partial(mounts.cryofs, many.archive, many.mount, "--jobs", "1"),
        f"{OURS}, idle": functools.partial(mounts.cryofs_at_rest, many.archive, many.mount),
    }
    commands = {
        f"ls -U of {many.flat:,} movies": ["ls", "-U", "flat"],
        f"ls -l of {many.flat:,} movies": ["ls", "-l", "flat"],
        f"find -size of {many.flat:,} movies": ["find", "flat", "-size", "+1"],
        f"du of {many.flat:,} movies": ["du", "flat"],
        f"find over {many.tree:,} movies": ["find", "tree"],
    }
    if why_not := mounts.missing("rsync"):
        notes.append(f"{READING_NOTE}rsync: {why_not}.")
    else:
        commands[f"rsync --dry-run of {many.flat:,} movies"] = [
            "rsync",
            "-a",
            "--dry-run",
            "flat",
            f"{many.folder}/copy/",
        ]

    def listed(way: str, state: str, again: bool) -> None:
        for what, command in commands.items():
            if way == OURS and state == "no index":
                _remove_index(many.archive)
            with (openers | others)[way]() as seconds:
                forget([])
                folder = many.archive if way == ITSELF else many.mount
                readings.add(f"{what}, {state}", way, "s", run(command, folder, keep_output=False).seconds)
                if again:
                    readings.add(f"{what}, once more", way, "s", run(command, folder, keep_output=False).seconds)
            if seconds is not None:
                readings.add(f"mounting {many.flat + many.tree:,} movies, {state}", way, "s", seconds)

    in_turn(runs, {way: functools.partial(listed, way, "no index", False) for way in openers})
    _remove_index(many.archive)
    readings.add(f"index of {many.flat + many.tree:,} movies is complete after", OURS, "s", _survey(many))
    in_turn(runs, {way: functools.partial(listed, way, "index", True) for way in openers | others})
    return readings.all()


def list_folder(many: Many, runs: int) -> list[Reading]:
    """Measure listings of one large folder: of the first mount, whose records are not known, and with an index."""
    readings = Readings(NAMES)
    what = f"of {many.flat:,} movies in one folder"
    for _ in range(runs):
        _remove_index(many.archive)
        for state in ("first mount", "index"):
            with mounts.cryofs(many.archive, many.mount):
                forget([])
                for names in ("ls -U", "ls -l"):
                    seconds = run([*names.split(), "flat"], many.mount, keep_output=False).seconds
                    readings.add(f"{names} {what}, {state}", OURS, "s", seconds)
            if state == "first mount":
                _survey(many)
    return readings.all()


def ask_under_load(many: Many, session: Session, runs: int) -> list[Reading]:
    """Measure `stat` of names of the mount and of the archive, while four readers keep all cores decoding."""
    readings = Readings(NAMES)
    # the cache is too small for the movies, so the mount decodes continuously
    cache = session.movie_bytes * MOVIES // 4
    _survey(many)
    names = [path.relative_to(many.archive) for path in sorted((many.archive / "tree").glob("*/*"))]

    def ask(way: str, seed: int, folder: Path, ending: str) -> None:
        chosen = np.random.default_rng(seed).permutation(len(names))[:_STATS]
        seconds = _ask([folder / str(names[number]).removesuffix(ending) for number in chosen])
        for share in (50, 99):
            what = f"stat while four readers decode, percentile {share}"
            readings.add(what, way, "ms", 1000 * float(np.percentile(seconds, share)))

    for seed in range(runs):
        with (
            mounts.cryofs(many.archive, many.mount, "--cache-size", str(cache)),
            _busy([many.mount / "large" / path.name for path in session.originals]),
        ):
            ask(OURS, seed, many.mount, ".tif")
            ask(ITSELF, seed, many.archive, "")
    return readings.all()


def _ask(paths: Sequence[Path]) -> list[float]:
    seconds: list[float] = []
    until = time.monotonic() + _STAT_SECONDS
    for path in paths:
        started = time.perf_counter()
        os.stat(path)  # noqa: PTH116 - measures this system call
        seconds.append(time.perf_counter() - started)
        if time.monotonic() > until:
            break
    return seconds


@contextlib.contextmanager
def _busy(paths: Sequence[Path]) -> Iterator[None]:
    """Run processes that read movies repeatedly, bypassing the page cache."""
    # direct reads, because cached pages would end the decoding
    again = 'while dd if="$1" of=/dev/null bs=1M iflag=direct status=none; do :; done'
    readers = [subprocess.Popen(["sh", "-c", again, "sh", path], start_new_session=True) for path in paths]
    try:
        time.sleep(1)
        if any(reader.poll() is not None for reader in readers):
            raise SystemExit("the background readers failed")
        yield
    finally:
        for reader in readers:
            os.killpg(reader.pid, signal.SIGTERM)
            reader.wait()


def _remove_index(archive: Path) -> None:
    if path := index_path(archive):
        path.unlink(missing_ok=True)


def _survey(many: Many) -> float:
    """Mount until the index is complete; return the seconds that the mount reports for it."""
    log = many.folder / "survey.log"
    log.unlink(missing_ok=True)
    until = time.monotonic() + _SURVEY_SECONDS
    with mounts.cryofs(many.archive, many.mount, "--log-file", str(log)):
        while not (found := re.search(r"index: \d+ movies read in ([\d.]+) s", log.read_text())):
            if time.monotonic() > until:
                raise SystemExit(f"{log}: the index was not completed in time")
            time.sleep(0.1)
    return float(found[1])
