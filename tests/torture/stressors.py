"""Run file stressors of other projects on a writable mount, while movies are written to it and archived at once."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.simulate import header
from tests.outcomes import verified
from tests.support import mounted
from tests.torture.figures import Figures
from tests.torture.writer import Expected, contents
from tests.torture.writing_kills import own_files, wait_for_end

# A stressor that takes so many seconds longer than it was given hangs.
_PATIENCE = 300
_FIO_JOBS, _FIO_FILES = 16, 4
# Movies of int16 that fio writes into: header, and data of a size that its blocks divide.
_FIO_SHAPE = (4, 128, 256)
_BLOCK = 4096
_LOAD_OF_DBENCH = Path("/usr/share/dbench/client.txt")
# Stressors of stress-ng that use files and pass on ext4, each with its options.
_STRESS_NG = (
    *("access", "chmod", "chown", "dentry", "dir", "dirmany", "fallocate", "fcntl", "filename", "flock"),
    *("fpunch", "fstat", "getdent", "hdd", "iomix", "lockf", "lockofd", "locka", "open", "rename", "seek", "symlink"),
    *("sync-file", "touch", "utime", "xattr"),
)
_NG_SIZES = {"hdd": "16m", "iomix": "16m", "fallocate": "16m"}


@dataclass(frozen=True)
class Stressor:
    """A program that stresses a folder.

    Attributes
    ----------
    command : callable
        Prepares a folder of the mount, and returns the command that uses it for some seconds; the second folder is
        outside the mount.
    """

    program: str
    command: Callable[[Path, Path, int], list[str]]


def _stress_ng(folder: Path, outside: Path, seconds: int) -> list[str]:
    chosen = ["stress-ng", "--temp-path", str(folder), "--verify", "--timeout", f"{seconds}s", "--metrics-brief"]
    for name in _STRESS_NG:
        chosen += [f"--{name}", "1"]
        if name in _NG_SIZES:
            chosen += [f"--{name}-bytes", _NG_SIZES[name]]
    return chosen


def _fio(folder: Path, outside: Path, seconds: int) -> list[str]:
    """Return the command that writes into movies at random; closed ones are archived, and thawed again when opened."""
    data = bytes(2 * _FIO_SHAPE[0] * _FIO_SHAPE[1] * _FIO_SHAPE[2])
    for job in range(_FIO_JOBS):
        for number in range(_FIO_FILES):
            (folder / f"movie.{job}.{number}.mrc").write_bytes(header(_FIO_SHAPE, 1) + data)
    return [
        *("fio", "--name=movie", f"--directory={folder}", "--filename_format=$jobname.$jobnum.$filenum.mrc"),
        *(f"--numjobs={_FIO_JOBS}", f"--nrfiles={_FIO_FILES}", "--openfiles=1", "--file_service_type=random"),
        *(f"--offset={len(header(_FIO_SHAPE, 1))}", f"--size={_FIO_FILES * len(data)}", f"--filesize={len(data)}"),
        *("--rw=randwrite", f"--bs={_BLOCK}", "--ioengine=psync", "--fallocate=none", "--overwrite=1"),
        # a pattern, because random bytes would not become smaller
        *("--verify=crc32c", "--verify_pattern=0x01", "--verify_fatal=1", "--do_verify=1"),
        # each loop closes and verifies all files
        *(f"--runtime={seconds}", "--loops=1000000", "--group_reporting", f"--aux-path={outside}"),
    ]


def _dbench(folder: Path, outside: Path, seconds: int) -> list[str]:
    """Return the command that replays a file server; some of its files have the names of movies."""
    load = outside / "load.txt"
    text = _LOAD_OF_DBENCH.read_text()
    for suffix in (".PPT", ".TMP", ".XLS"):
        text = text.replace(suffix, ".MRC")
    load.write_text(text)
    return ["dbench", "-c", str(load), "-D", str(folder), "-t", str(seconds), "4"]


def _bonnie(folder: Path, outside: Path, seconds: int) -> list[str]:
    # without the tests of single characters, which take a request each
    once = f"bonnie++ -q -f -d '{folder}' -u root -s 64 -r 32 -n 1:20000:100:4 -x 1"
    script = f"end=$(($(date +%s) + {seconds})); while [ $(date +%s) -lt $end ]; do {once} || exit 1; done"
    return ["sh", "-c", script]


STRESSORS = (
    Stressor("stress-ng", _stress_ng),
    Stressor("fio", _fio),
    Stressor("dbench", _dbench),
    Stressor("bonnie++", _bonnie),
)


def stress(folder: Path, stressor: Stressor, seconds: int, seed: int) -> Figures:
    """Run a stressor in a folder of a mount, and a program that writes and checks movies in another."""
    figures = Figures(f"{stressor.program} on a writable mount, movies written and archived beside it", unit="seconds")
    if shutil.which(stressor.program) is None:
        print(f"torture: {stressor.program} is missing", file=sys.stderr)
        return figures
    archive, mount, outside, log = (folder / name for name in ("archive", "mnt", "outside", "log"))
    for place in (archive / "stressed", archive / "written" / "d", mount, outside):
        place.mkdir(parents=True)
    with mounted(archive, mount, "-o", "writable,settle=0,close=fast"):
        server = os.getxattr(mount, "user.cryofs.pid")
        begun = time.monotonic()
        command = [sys.executable, "-m", "tests.torture.writer", str(mount / "written"), str(log), str(seed)]
        with subprocess.Popen(command) as writer:
            if not _succeeds(stressor.command(mount / "stressed", outside, seconds), outside, seconds, figures):
                figures.lost += 1
            writer.send_signal(signal.SIGTERM)
        figures.crashes += writer.returncode != 0
        figures.done = round(time.monotonic() - begun)
        expected = Expected.read({}, log)
        figures.wrong_bytes += len(expected.problems) + (not expected.allows(contents(mount / "written")))
        figures.crashes += os.getxattr(mount, "user.cryofs.pid") != server
    wait_for_end(archive)
    errors = [*expected.problems, *verified(archive)[1], *own_files(archive)]
    figures.lost += len(errors) - len(expected.problems)
    for error in errors:
        print(f"torture: {stressor.program}: {error}", file=sys.stderr)
    shutil.rmtree(archive)
    return figures


def _succeeds(command: list[str], outside: Path, seconds: int, figures: Figures) -> bool:
    """Run a stressor; print its output if it fails."""
    with (outside / "output").open("w") as output:
        process = subprocess.Popen(command, cwd=outside, stdout=output, stderr=output, start_new_session=True)
        try:
            process.wait(seconds + _PATIENCE)
        except subprocess.TimeoutExpired:
            figures.hung += 1
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        print((outside / "output").read_text()[-5000:], file=sys.stderr)
    return process.returncode == 0
