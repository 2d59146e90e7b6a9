"""Kill a writable mount, the processes that archive for it, and its writers, at random moments."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil

from cryofs.storage.archive_lock import LOCK_NAME
from cryofs.storage.atomic_file import DRAFT_PREFIX, OWN_PREFIX
from cryofs.storage.checksum_lists import LIST_NAME
from tests.outcomes import extracted, verified
from tests.support import cryofs
from tests.torture.figures import Figures
from tests.torture.writer import Expected, contents

_WRITERS = 2
_SECONDS_TO_END = 60
# A mount that fails counts as a crash; without another one, all later comparisons would fail, too.
_ATTEMPTS = 3
# What is killed, in turn.
_VICTIMS = ("mount", "children", "mount and children", "writer")
# Kills after which the archive is unmounted, verified and extracted.
_PER_CHECK = 12


class _Killing:
    """A mount of an archive, its writers, and what they must find."""

    def __init__(self, folder: Path, seed: int, figures: Figures):
        self.archive, self.mount = folder / "archive", folder / "mnt"
        self._folder, self._figures = folder, figures
        self._rng = np.random.default_rng(seed)
        self._files: list[dict[str, bytes]] = [{} for _ in range(_WRITERS)]
        self._kills = 0
        self.mount.mkdir()
        for number in range(_WRITERS):
            (self.archive / str(number) / "d").mkdir(parents=True)

    def start(self) -> None:
        """Mount the archive, whether or not a killed mount is in the way."""
        close = ("durable", "fast")[self._kills // len(_VICTIMS) % 2]
        options = f"writable,settle=0,ingest_jobs=1,close={close}"
        command = ["mount", self.archive, self.mount, "-o", options, "--log-file", self._folder / "log"]
        for _ in range(_ATTEMPTS):
            done = cryofs(*command, check=False)
            if done.returncode == 0:
                return
            print(done.stderr, file=sys.stderr)
            self._figures.crashes += 1
        raise RuntimeError(f"{self.mount}: cannot be mounted")

    def kill(self, victim: str) -> None:
        """Let writers work, kill, and check what is there."""
        server = psutil.Process(int(os.getxattr(self.mount, "user.cryofs.pid")))
        logs = [self._folder / f"log {number}" for number in range(_WRITERS)]
        writers = []
        for number, log in enumerate(logs):
            log.unlink(missing_ok=True)
            arguments = [self.mount / str(number), log, 1000 * self._kills + number]
            command = [sys.executable, "-m", "tests.torture.writer", *map(str, arguments)]
            writers.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        self._wait(logs, must_archive=victim != "writer" and bool(self._rng.random() < 0.7))
        self._kills += 1
        children = server.children(recursive=True)
        killed = {"mount": [server], "children": children, "mount and children": [server, *children], "writer": []}
        for process in killed[victim]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for writer in writers if victim == "writer" else []:
            writer.kill()
        if victim == "children":
            time.sleep(self._rng.uniform(0, 0.3))
        for writer in writers:
            writer.send_signal(signal.SIGTERM)
            try:
                writer.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                self._figures.hung += 1
                writer.kill()
                writer.wait()
        if victim == "children":
            self._figures.crashes += sum(writer.returncode != 0 for writer in writers)
        if server in killed[victim]:
            server.wait(_SECONDS_TO_END)
            self.start()
        self._figures.done += 1
        self._check(logs, is_mount_killed=server in killed[victim], moment=f"kill {self._kills} ({victim})")

    def _wait(self, logs: list[Path], *, must_archive: bool) -> None:
        """Wait until all writers work, and as a rule until a movie is being archived; then for a random time."""
        until = time.monotonic() + _SECONDS_TO_END
        while not all(log.exists() and log.stat().st_size for log in logs) and time.monotonic() < until:
            time.sleep(0.01)
        until = time.monotonic() + 5
        while must_archive and not list(self.archive.rglob(DRAFT_PREFIX + "*")) and time.monotonic() < until:
            time.sleep(0.002)
        time.sleep(self._rng.uniform(0, 0.5))

    def _check(self, logs: list[Path], *, is_mount_killed: bool, moment: str) -> None:
        for number, log in enumerate(logs):
            expected = Expected.read(self._files[number], log)
            if not is_mount_killed:
                # names are removed a moment later only where nothing asks for them
                expected.leaving.clear()
            elif expected.problems and expected.pending is not None:
                # the call that the kill interrupted
                expected.problems.pop()
            self._files[number] = shown = contents(self.mount / str(number))
            wrong = [] if expected.allows(shown) else [f"{moment}: {_difference(expected, shown)}"]
            self._figures.wrong_bytes += len(expected.problems)
            self._figures.lost += len(wrong)
            for problem in [*expected.problems, *wrong]:
                print(f"torture: {moment}, writer {number}: {problem}", file=sys.stderr)

    def check_archive(self) -> None:
        """Unmount, and compare what verify, extract and a listing find in the archive."""
        self._figures.crashes += cryofs("umount", self.mount, check=False).returncode != 0
        wait_for_end(self.archive)
        restored_to = self._folder / "restored"
        errors = [*verified(self.archive)[1], *extracted(self.archive, to=restored_to)[1], *own_files(self.archive)]
        restored = [contents(restored_to / str(number)) for number in range(_WRITERS)]
        self._figures.lost += len(errors)
        self._figures.wrong_bytes += restored != self._files
        for error in errors:
            print(f"torture: {error}", file=sys.stderr)
        shutil.rmtree(restored_to)


def wait_for_end(archive: Path) -> None:
    """Wait until the process of a mount has released the lock of an archive."""
    until = time.monotonic() + _SECONDS_TO_END
    while (archive / LOCK_NAME).exists() and time.monotonic() < until:
        time.sleep(0.01)


def own_files(archive: Path) -> list[Path]:
    """Return files of cryofs that must not be left."""
    return [path for path in archive.rglob(OWN_PREFIX + "*") if path.name != LIST_NAME]


def _difference(expected: Expected, shown: dict[str, bytes]) -> str:
    names = {*expected.files, *shown}
    sizes = [
        f"{name} {len(expected.files.get(name, b''))} -> {len(shown.get(name, b''))}"
        for name in sorted(names)
        if expected.files.get(name) != shown.get(name)
    ]
    return f"differs ({', '.join(sizes)}); pending {expected.pending}, leaving {sorted(expected.leaving)}"


def kill_writing(folder: Path, kills: int, seed: int) -> Figures:
    """Kill repeatedly; all that was written must be there after each kill, and the archive whole in the end."""
    figures = Figures("writable mount, its children or its writers killed", unit="kills")
    killing = _Killing(folder, seed, figures)
    killing.start()
    try:
        for number in range(kills):
            killing.kill(_VICTIMS[number % len(_VICTIMS)])
            if number % _PER_CHECK == _PER_CHECK - 1:
                killing.check_archive()
                killing.start()
    finally:
        killing.check_archive()
    return figures
