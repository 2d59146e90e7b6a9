"""Collect values of readings from alternating runs, for the tables of the report."""

import time
from collections.abc import Callable

from benchmarks.figures import Reading

# names of the tables
K2, EER, PROGRAMS = "K2, gain-normalised", "EER", "RELION on a mount"
NAMES, MEMORY, STARTING = "Names", "Memory of the mount", "Starting"
SMALL, CROPPING = "Small frames", "Cropping in Fourier space"
WRITING, SESSION = "Writing", "A session"
# ways that take more seconds than this run only once
_SLOW = 15


class Readings:
    """Values of one table, collected run by run."""

    def __init__(self, table: str):
        self._table = table
        self._values: dict[tuple[str, str, str], list[float]] = {}

    def add(self, what: str, way: str, unit: str, value: float) -> None:
        """Add the value of a run."""
        self._values.setdefault((what, way, unit), []).append(float(value))
        print(f"{self._table}: {what}: {way}: {value:.4g} {unit}", flush=True)

    def all(self) -> list[Reading]:
        """Return all readings so far."""
        return [Reading(self._table, *key, values) for key, values in self._values.items()]


def in_turn(runs: int, turns: dict[str, Callable[[], None]]) -> None:
    """Call all functions alternately, `runs` times each; slow ones only once."""
    slow = set()
    for _ in range(runs):
        for name, turn in turns.items():
            if name not in slow:
                started = time.monotonic()
                turn()
                if time.monotonic() - started > _SLOW:
                    slow.add(name)
