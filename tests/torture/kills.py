"""Kill compress, compare, estimate-gain, and a mount with readers, at random times."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from cryofs.archive.verify import verify
from cryofs.errors import CryofsError
from cryofs.fuse.control import is_mounted
from cryofs.gain import estimation_state
from cryofs.gain.estimation_state import STATE_NAME
from cryofs.movies.gain_library import load_reference
from cryofs.storage.atomic_file import DRAFT_PREFIX, OWN_PREFIX
from tests.support import cryofs, simulated
from tests.torture.figures import Figures

_SECONDS_TO_END = 60
_CRYOFS = (sys.executable, "-m", "cryofs")
# Torture sessions are small; this stores them with several processes, like large sessions.
_IN_PROCESSES = (
    sys.executable,
    "-c",
    "from cryofs.compress import movie_executor as m; m._WORTH_PROCESSES = 0; from cryofs.cli import main; main()",
)


def make_session(folder: Path, movies: int, frames: int = 30) -> dict[Path, bytes]:
    """Create movies and a text file; return their contents."""
    for number in range(movies):
        simulated(folder / "Movies" / f"{number}.mrc", frames=frames, seed=number)
    (folder / "notes.txt").write_text("300 kV" * 100_000)
    return contents(folder)


def contents(folder: Path) -> dict[Path, bytes]:
    """Return the bytes of all files in a folder and its subfolders."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run_and_kill(command: list[str], seconds: float) -> bool:
    """Start a command and kill it after some seconds; return True if it succeeded before."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        return process.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        # including its child processes
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False


def run_and_kill_when(command: list[str], reached: Callable[[], bool]) -> bool:
    """Start a command and kill it once a condition is true; return True if it succeeded before."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and not reached():
        pass
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait() == 0


def usual_seconds(command: list[str]) -> float:
    """Return the duration of a command that is not killed."""
    started = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - started


def half_written(target: Path, originals: dict[Path, bytes]) -> tuple[int, set[Path]]:
    """Return the number of damaged files with a final name, and the names of intact ones."""
    bad: list[Path] = []
    whole: set[Path] = set()
    # files of the archive that are not originals
    besides = (OWN_PREFIX, "gain-reference")

    def report(path: Path, error: Exception | None) -> None:
        if error:
            bad.append(path)
        elif not path.name.startswith(besides):
            whole.add(path.relative_to(target))

    if target.is_dir():
        verify([target], 2, report, lambda *_: None, lambda _: None)
        for name, data in contents(target).items():
            if any(part.startswith(besides) for part in name.parts) or name.suffix == ".tif":
                continue
            (whole.add if originals[name] == data else bad.append)(name)
    return len(bad), whole


def kill_compress(folder: Path, kills: int, seed: int) -> Figures:
    """Kill compress repeatedly, half of the runs with processes; archives are completed, checked and started over."""
    figures = Figures("compress killed", unit="kills")
    rng = np.random.default_rng(seed)
    originals = make_session(folder / "session", movies=3)
    target = folder / "archive"
    ways = [[*way, "compress", str(folder / "session"), "--jobs", "2", "-o"] for way in (_CRYOFS, _IN_PROCESSES)]
    usual = [usual_seconds([*way, str(folder / f"unhurried {number}")]) for number, way in enumerate(ways)]
    whole_before: set[Path] = set()
    for number in range(kills):
        # without the option, existing movies are replaced
        again = ["--only-do-unfinished"] if number % 4 else []
        # pairs of runs, so that each way runs with and without the option
        way = number // 2 % 2
        run_and_kill([*ways[way], str(target), *again], rng.uniform(0.2, 1.0) * usual[way])
        bad, whole = half_written(target, originals)
        figures.lost += bad + len(whole_before - whole)
        figures.done += 1
        whole_before = whole
        if len(whole) >= len(originals) or number == kills - 1:
            done = cryofs("compress", folder / "session", "-o", target, "--only-do-unfinished", check=False)
            figures.crashes += done.returncode != 0
            bad, whole = half_written(target, originals)
            figures.lost += bad + len(originals) - len(whole) + len(list(target.rglob(DRAFT_PREFIX + "*")))
            cryofs("extract", target, "-o", folder / f"restored {number}")
            restored = contents(folder / f"restored {number}")
            figures.wrong_bytes += sum(restored.get(name) != data for name, data in originals.items())
            for place in (target, folder / f"restored {number}"):
                subprocess.run(["rm", "-r", str(place)], check=True)
            whole_before = set()
    figures.lost += contents(folder / "session") != originals
    return figures


def has_files_left(folder: Path, count: int) -> bool:
    """Return True if a folder has at most `count` files."""
    return sum(len(files) for _, _, files in os.walk(folder)) <= count


def kill_compare(folder: Path, kills: int, seed: int, files: int = 200) -> Figures:
    """Kill `compare --remove-source` repeatedly; removed files must be in the archive, remaining ones intact."""
    figures = Figures("compare --remove-source killed", unit="kills")
    rng = np.random.default_rng(seed)
    make_session(folder / "session", movies=3)
    for number in range(files):
        path = folder / "session" / "files" / str(number % 10) / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"file {number}\n" * 100)
    originals = contents(folder / "session")
    target, source = folder / "archive", folder / "source"
    cryofs("compress", folder / "session", "-o", target)
    held = contents(target)
    base = [*_CRYOFS, "compare", "--remove-source", "--jobs", "2"]
    copy = ["cp", "-a", str(folder / "session"), str(source)]
    finished = True
    for number in range(kills):
        if finished:
            subprocess.run(["rm", "-rf", str(source)], check=True)
            subprocess.run(copy, check=True)
        # each run is killed a few files later than the previous one, so that several runs share one source
        wanted = len(contents(source)) - int(rng.integers(1, 40))
        finished = run_and_kill_when([*base, str(source), str(target)], partial(has_files_left, source, wanted))
        left = contents(source)
        # the archive is unchanged, so it still contains the files removed from the source
        figures.lost += contents(target) != held
        figures.wrong_bytes += sum(originals[name] != data for name, data in left.items())
        figures.done += 1
        if number == kills - 1:
            figures.crashes += cryofs(*base[3:], source, target, check=False).returncode != 0
            figures.lost += contents(source) != {}
    cryofs("extract", target, "-o", folder / "restored")
    figures.wrong_bytes += contents(folder / "restored") != originals
    return figures


def kill_estimation(folder: Path, kills: int, seed: int) -> Figures:
    """Kill estimate-gain repeatedly; its saved state must always be valid, and the final gain correct."""
    figures = Figures("estimate-gain killed", unit="kills")
    rng = np.random.default_rng(seed)
    originals = make_session(folder / "session", movies=2)
    gain = folder / "gain"
    base = [*_CRYOFS, "estimate-gain", str(folder / "session" / "Movies"), "-o"]
    usual = usual_seconds([*base, str(folder / "unhurried")])
    right = load_reference(folder / "unhurried" / "gain-reference.mrc")
    for number in range(kills):
        finished = run_and_kill([*base, str(gain)], rng.uniform(0.2, 1.1) * usual)
        figures.done += 1
        try:
            if (gain / STATE_NAME).exists():
                estimation_state.load(gain)
            if (gain / "gain-reference.mrc").exists():
                load_reference(gain / "gain-reference.mrc")
        except CryofsError:
            figures.lost += 1
        if finished or number == kills - 1:
            figures.crashes += cryofs(*base[3:], gain, check=False).returncode != 0
            found = load_reference(gain / "gain-reference.mrc")
            figures.wrong_bytes += not np.array_equal(found.gain, right.gain)
            subprocess.run(["rm", "-r", str(gain)], check=True)
    figures.lost += contents(folder / "session") != originals
    return figures


def kill_mount(folder: Path, kills: int, seed: int) -> Figures:
    """Kill a mount with readers; a single mount command must remove the stale mount and mount again."""
    figures = Figures("mount killed under 4 readers", unit="kills")
    rng = np.random.default_rng(seed)
    originals = make_session(folder / "session", movies=2)
    archive, mount = folder / "archive", folder / "mnt"
    mount.mkdir()
    cryofs("compress", folder / "session", "-o", archive)
    movie = Path("Movies") / "0.mrc"
    read = f"while dd if='{mount / movie}' of=/dev/null bs=64K iflag=direct; do :; done"
    stored = contents(archive)
    for _ in range(kills):
        figures.crashes += cryofs("mount", archive, mount, "--log-file", folder / "log", check=False).returncode != 0
        pid = int(os.getxattr(mount, "user.cryofs.pid"))
        figures.wrong_bytes += (mount / movie).read_bytes() != originals[movie]
        readers = [subprocess.Popen(["sh", "-c", read], stderr=subprocess.DEVNULL) for _ in range(4)]
        time.sleep(rng.uniform(0, 0.5))
        os.kill(pid, signal.SIGKILL)
        for reader in readers:
            try:
                reader.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                figures.hung += 1
                reader.kill()
        figures.done += 1
    figures.crashes += cryofs("umount", mount, check=False).returncode != 0
    figures.crashes += is_mounted(mount)
    figures.lost += contents(archive) != stored
    return figures
