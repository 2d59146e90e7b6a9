"""Compare this version of cryofs with another version: `python -m benchmarks.versions OTHER_CRYOFS`.

OTHER_CRYOFS is the executable of the other version, `.venv/bin/cryofs` in its checkout. Both versions run alternately:
each compresses the same movies, then mounts and reads the archive that it wrote. The table shows medians and ranges;
"worse" marks rows where even the best run of this version is more than 3 % worse than the worst run of the other
version.
"""

import argparse
import contextlib
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.cases import Case, cases
from benchmarks.figures import RATE
from benchmarks.markdown import table
from benchmarks.measure import CRYOFS, forget, run, warm
from benchmarks.mounts import wait_until_idle
from benchmarks.reading_loads import FOUR_READERS, LOADS, Load
from benchmarks.reading_peers import Opened, cat

THIS, OTHER = "this version", "other version"
_KINDS = ("k2", "counts", "eer")
_MOVIES = 4
_MB = 1e6
# warm reads are served from the page cache, and vary by this factor between runs of the same version
_NOISE = 1.03
Command = tuple[str, ...]


class Figures:
    """Values of both versions, by row and unit."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, what: str, unit: str, version: str, value: float) -> None:
        """Add the value of a run."""
        self._values[what, unit][version].append(value)
        print(f"{what}, {version}: {value:.4g} {unit}", flush=True)

    def table(self) -> str:
        """Return the rows as a Markdown table."""
        rows = []
        for (what, unit), values in self._values.items():
            ours, theirs = values[THIS], values[OTHER]
            worse = max(ours) * _NOISE < min(theirs) if unit == RATE else min(ours) > _NOISE * max(theirs)
            ratio = f"{median(ours) / median(theirs):.2f}" + (" worse" if worse else "")
            rows.append((what, unit, _range(ours), _range(theirs), ratio))
        return table(("row", "unit", THIS, OTHER, "ratio"), rows)


def _range(values: list[float]) -> str:
    return f"{median(values):.4g} ({min(values):.4g} to {max(values):.4g})"


def compare(versions: dict[str, Command], folder: Path, kind: str, case: Case, runs: int, figures: Figures) -> None:
    """Compress the movies of a kind and read the archives, alternately with each version."""
    home = folder / kind
    movies = case.make(home, _MOVIES)
    for _ in range(runs):
        for version, command in versions.items():
            archive = home / f"archive of {version}"
            shutil.rmtree(archive, ignore_errors=True)
            for number, names in (("one movie", movies[:1]), ("four movies", movies)):
                warm(home / name for name in names)
                done = run([*command, "compress", *names, "-o", archive], home)
                figures.add(f"{kind}: compress {number}", "s", version, done.seconds)
                figures.add(f"{kind}: compress {number}, processor", "s", version, done.core_seconds)
            stored = sum(path.stat().st_size for path in archive.rglob("*") if path.is_file())
            figures.add(f"{kind}: stored", "MB", version, stored / _MB)
    for _ in range(runs):
        for version, command in versions.items():
            archive = home / f"archive of {version}"
            for load in _loads(kind):
                # a new mount has no decoded frames
                with _mounted(command, archive, home / "mount") as mount:
                    _read(kind, load, version, archive, mount, figures)


def _read(kind: str, load: Load, version: str, archive: Path, mount: Path, figures: Figures) -> None:
    """Read the movies of a mount with empty caches, then with warm caches."""
    stored = [path for path in archive.rglob("*") if path.is_file()]
    paths = sorted(mount.glob("**/movie-*.mrc"))
    opened = Opened(paths, stored, paths[0].stat().st_size, None, cat)
    for state in ("cold", "warm"):
        if state == "cold":
            forget(stored)
        for measured in load.measure(opened):
            figures.add(f"{kind}: {measured.what}, {state}", measured.unit, version, measured.value)


def _loads(kind: str) -> list[Load]:
    """Return the loads of a kind; four rendered EER movies do not fit in the default cache."""
    return [load for load in LOADS if kind == "k2" or load is not FOUR_READERS]


@contextlib.contextmanager
def _mounted(command: Command, archive: Path, mount: Path) -> Iterator[Path]:
    """Mount an archive with a version, and wait until the mount is idle."""
    mount.mkdir(exist_ok=True)
    run([*command, "mount", archive, mount], archive)
    try:
        wait_until_idle(mount)
        yield mount
    finally:
        run([*command, "umount", mount], archive)


def main() -> None:
    """Print the table of both versions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", help="executable of the other version")
    parser.add_argument("--cases", default=",".join(_KINDS), help="kinds to compare (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each version (default: %(default)s)")
    parser.add_argument("--small", action="store_true", help="use small movies, for a trial run")
    arguments = parser.parse_args()
    if unknown := set(arguments.cases.split(",")) - set(_KINDS):
        parser.error(f"unknown case {', '.join(sorted(unknown))}; valid cases: {', '.join(_KINDS)}")
    run([sys.executable, "-m", "cryofs", "warm"], Path(__file__).parents[1])
    versions: dict[str, Command] = {THIS: CRYOFS, OTHER: (str(Path(arguments.other).absolute()),)}
    figures = Figures()
    for kind in arguments.cases.split(","):
        with tempfile.TemporaryDirectory(prefix="cryofs-versions-") as folder:
            compare(versions, Path(folder), kind, cases(arguments.small)[kind], arguments.runs, figures)
    print(figures.table())


if __name__ == "__main__":
    main()
