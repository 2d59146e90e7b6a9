"""Compare the times until a mount is live, until the first part of a fraction is read, and until a command ends."""

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks import mounts
from benchmarks.competitors import OURS
from benchmarks.figures import READING_NOTE, Reading
from benchmarks.measure import CRYOFS, forget, run
from benchmarks.reading_peers import KERNEL_SQUASHFS, SQUASHFUSE
from benchmarks.readings import STARTING, Readings, in_turn

_PART = 1 << 20
_PYTHON = "python -c pass"
_COMMANDS = {"the version": ["--version"], "a usage error": ["compress", "--no-such-option"]}


def start(folder: Path, movie: str, runs: int, notes: list[str]) -> list[Reading]:
    """Measure mounting a folder with one EER movie, and commands that end immediately."""
    source = folder / movie
    place = folder / "mount"
    readings = Readings(STARTING)

    def first_part() -> float:
        forget([source])
        started = time.perf_counter()
        with (place / source.with_suffix(".mrc").name).open("rb", buffering=0) as file:
            file.read(_PART)
        return time.perf_counter() - started

    def ours() -> None:
        with mounts.cryofs(source.parent, place) as seconds:
            readings.add("mounting", OURS, "s", seconds)
            readings.add("first MiB of a fraction right after mounting, cold", OURS, "s", first_part())
        with mounts.cryofs_at_rest(source.parent, place):
            readings.add("first MiB of a fraction, cold", OURS, "s", first_part())
        for what, arguments in _COMMANDS.items():
            readings.add(what, OURS, "s", _seconds([*CRYOFS, *arguments]))

    def python() -> None:
        for what in _COMMANDS:
            readings.add(what, _PYTHON, "s", _seconds([sys.executable, "-c", "pass"]))

    turns = {OURS: ours, _PYTHON: python}
    image = folder / "image"
    for way, mount, why_not in (
        (SQUASHFUSE, mounts.squashfuse, mounts.missing("mksquashfs", "squashfuse")),
        (KERNEL_SQUASHFS, mounts.kernel_squashfs, mounts.no_kernel_squashfs()),
    ):
        if why_not:
            notes.append(f"{READING_NOTE}{STARTING}, {way}: {why_not}.")
            continue
        _pack(source, image)

        def theirs(way: str = way, mount: Callable[[Path, Path], AbstractContextManager[float]] = mount) -> None:
            with mount(image, place) as seconds:
                readings.add("mounting", way, "s", seconds)

        turns[way] = theirs
    in_turn(runs, turns)
    image.unlink(missing_ok=True)
    return readings.all()


def _pack(source: Path, image: Path) -> None:
    """Create an uncompressed squashfs image; compression would not change the time to mount it."""
    if not image.exists():
        run(["mksquashfs", source, image, "-noD", "-quiet", "-no-progress"], source.parent)


def _seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, capture_output=True, check=False)
    return time.perf_counter() - started
