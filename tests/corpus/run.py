"""Damage files on purpose, and count violated guarantees, of which there must be none.

`python -m tests.corpus.run --count 1000 --seed 1` prints the figures; the exit code is 1 if any guarantee was violated.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.corpus.finding import Finding
from tests.corpus.mutants import Mutant, mutants
from tests.corpus.reading import examine
from tests.corpus.specimens import make_specimens

# memory limit for reading a file of some kilobytes, in addition to that of the program
MEMORY = 1 << 30
SECONDS = 60.0


@dataclass
class Damage:
    """Figures of a run.

    Attributes
    ----------
    files : int
        Damaged files that were read.
    intact : int
        Files whose damage affects nothing that is read: all bytes are correct.
    errors : dict
        Number of correctly reported errors, by type.
    wrong_bytes, crashes, hangs, broken : int
        Files with wrong bytes, files that crashed the process, files that took too long, and files that violated
        another guarantee.
    problems : list of str
        Violated guarantees, with the file.
    """

    files: int = 0
    intact: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    wrong_bytes: int = 0
    crashes: int = 0
    hangs: int = 0
    broken: int = 0
    slowest_seconds: float = 0.0
    slowest: str = ""
    peak_bytes: int = 0
    largest: str = ""
    problems: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """True if no guarantee was violated."""
        return not self.problems

    def add(self, mutant: Mutant, finding: Finding) -> None:
        """Add the result of a file."""
        self.files += 1
        for kind in finding.errors:
            self.errors[kind] = self.errors.get(kind, 0) + 1
        self.wrong_bytes += bool(finding.wrong_bytes)
        self.broken += bool(finding.broken)
        self.intact += not (finding.errors or finding.wrong_bytes or finding.broken)
        self.problems += [f"{mutant}: {text}" for text in finding.wrong_bytes + finding.broken]
        if finding.seconds > self.slowest_seconds:
            self.slowest_seconds, self.slowest = round(finding.seconds, 3), str(mutant)
        if finding.peak_bytes > self.peak_bytes:
            self.peak_bytes, self.largest = finding.peak_bytes, str(mutant)

    def lose(self, mutant: Mutant, how: str) -> None:
        """Count a file whose reader crashed or hung."""
        self.files += 1
        self.crashes += how != "hang"
        self.hangs += how == "hang"
        self.problems.append(f"{mutant}: {how}")


def damage_run(count: int, seed: int, folder: Path) -> Damage:
    """Create `count` damaged files in a folder, read each in all ways, and return the figures."""
    damage = Damage()
    with _Reader(folder / "work") as reader:
        for mutant in mutants(make_specimens(folder / "specimens"), count, seed):
            finding = reader.examine(mutant)
            if isinstance(finding, Finding):
                damage.add(mutant, finding)
            else:
                damage.lose(mutant, finding)
    return damage


class _Reader:
    """A process that reads damaged files; it is restarted after a crash."""

    def __init__(self, work: Path):
        self._work = work
        work.mkdir()
        self._context = multiprocessing.get_context("spawn")
        self._begin()

    def _begin(self) -> None:
        self._connection, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs, self._work), daemon=True)
        self._process.start()
        theirs.close()

    def examine(self, mutant: Mutant) -> Finding | str:
        """Return the result of a file, or a description of the crash or hang."""
        how = "hang"
        try:
            self._connection.send(mutant)
            if self._connection.poll(SECONDS):
                found: Finding = self._connection.recv()
                return found
        except (EOFError, ConnectionError):
            self._process.join()
            how = f"crash, exit code {self._process.exitcode}"
        self._end()
        self._begin()
        return how

    def _end(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()


def _serve(connection: Connection, work: Path) -> None:
    """Read damaged files until there are no more, with limited memory."""
    from cryofs.codecs import registry
    from cryofs.kernels import warm_up

    warm_up.load()
    registry.load_compiled()
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (used + MEMORY, used + MEMORY))
    for mutant in _received(connection):
        connection.send(examine(mutant, work))


def _received(connection: Connection) -> Iterator[Mutant]:
    while True:
        try:
            yield connection.recv()
        except EOFError:
            return


def main() -> int:
    """Run with the arguments of the command line; print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        damage = damage_run(arguments.count, arguments.seed, Path(folder))
    print(json.dumps(asdict(damage), indent=2))
    return 0 if damage.good else 1


if __name__ == "__main__":
    sys.exit(main())
