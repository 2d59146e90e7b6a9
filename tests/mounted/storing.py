"""A mount that archives movies as soon as they are written, beside a plain folder in which the same is done."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.simulate import header
from cryofs.formats.archive_names import archived_path, has_archived_form, is_own_name
from cryofs.ingest.finished import Verdict, judge
from cryofs.storage.checksum_lists import ListReader
from tests.mounted.support import wait_for_unlocked
from tests.mounted.test_writing_model import tree
from tests.support import mounted

SHAPE = (2, 128, 150)


def movie(seed: int, shape: tuple[int, int, int] = SHAPE) -> bytes:
    """Return the bytes of a movie of counts, which becomes smaller."""
    return header(shape, 1) + np.random.default_rng(seed).poisson(1, shape).astype("<i2").tobytes()


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until a condition is true, on a busy machine as well."""
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@dataclass(frozen=True)
class Storing:
    """A mount, the archive behind it, and a plain folder."""

    mount: Path
    archive: Path
    plain: Path

    def below(self, name: str) -> "Storing":
        """Return a folder of this name in each of the three."""
        self.plain.joinpath(name).mkdir()
        self.mount.joinpath(name).mkdir()
        return Storing(self.mount / name, self.archive / name, self.plain / name)

    def both(self, call: Callable[[Path], object]) -> None:
        """Call a function with the mount and with the plain folder; assert that it returns the same."""
        assert call(self.mount) == call(self.plain)

    def write(self, name: str, data: bytes) -> None:
        """Write a file in both folders."""
        self.both(lambda folder: (folder / name).write_bytes(data))

    def run(self, script: str, **variables: str) -> None:
        """Run a script of the shell in both folders; assert that both succeed, print the same and leave the same."""
        self.both(lambda folder: output(script, folder, variables))
        self.check()

    def check(self) -> None:
        """Assert that both folders hold the same files: bytes, modes, owners, attributes, and times that were set."""
        shown, plain = (facts(folder) for folder in (self.mount, self.plain))
        assert shown.keys() == plain.keys()
        for name, found in shown.items():
            assert found == plain[name], name

    def wait(self) -> None:
        """Wait until all movies that are finished are archived, and compare again, now with the times of folders."""
        self.wait_for_movies()
        wait_for(lambda: folder_times(self.archive) == folder_times(self.plain))
        self.check()

    def wait_for_movies(self) -> None:
        """Wait until all movies that are finished are archived."""
        lists = ListReader()
        paths = [path for path in self.plain.rglob("*") if has_archived_form(path.name) and path.is_file()]
        movies = [path for path in paths if judge(path, lists, 0).verdict is Verdict.READY]
        places = [self.archive / path.relative_to(self.plain) for path in movies]
        wait_for(lambda: all(archived_path(place).exists() and not place.exists() for place in places))


def facts(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return what `tree` finds, without what git keeps of inodes and times."""
    return {name: one for name, one in tree(folder, folder_times=False).items() if ".git" not in Path(name).parts}


def folder_times(folder: Path) -> dict[str, int]:
    """Return the times of folders in a folder that a program has set, 0 for those of other folders."""
    found = {}
    for place, below, _ in os.walk(folder):
        below[:] = [name for name in below if not (name == ".git" or is_own_name(name))]
        mtime = Path(place).stat().st_mtime_ns
        found[os.path.relpath(place, folder)] = mtime if mtime < 10**15 else 0
    return found


def output(script: str, folder: Path, environment: dict[str, str]) -> str:
    """Return what a script of the shell prints that is run in a folder."""
    command = ["bash", "-euo", "pipefail", "-c", script]
    variables = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C", "HOME": str(folder), **environment}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextlib.contextmanager
def storing(base: Path) -> Iterator[Storing]:
    """Mount an empty archive that archives at once; its children are started already."""
    for name in ("archive", "plain"):
        (base / name).mkdir()
    archive = base / "archive"
    with mounted(archive, base / "mnt", "-o", "writable,settle=0,ingest_jobs=1,close=fast") as mount:
        (mount / "first.mrc").write_bytes(movie(9))
        wait_for((archive / "first.mrc.tif").exists)
        (mount / "first.mrc").unlink()
        yield Storing(mount, archive, base / "plain")
    wait_for_unlocked(archive)
