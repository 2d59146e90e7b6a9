"""Figures of readings as they come, everybody in turn, and the tables that they go into."""

import time
from collections.abc import Callable

from benchmarks.figures import Reading

# the tables
K2, EER, PROGRAMS = "K2, gain-normalised", "EER", "RELION on a mount"
NAMES, MEMORY = "Names", "Memory of the mount"
# seconds after which somebody has no further turn
_SLOW = 15


class Readings:
    """Figures as they come, and what they are in the end."""

    def __init__(self, table: str):
        self._table = table
        self._values: dict[tuple[str, str, str], list[float]] = {}

    def add(self, what: str, way: str, unit: str, value: float) -> None:
        """One more run."""
        self._values.setdefault((what, way, unit), []).append(float(value))
        print(f"{self._table}: {what}: {way}: {value:.4g} {unit}", flush=True)

    def all(self) -> list[Reading]:
        """Everything so far."""
        return [Reading(self._table, *key, values) for key, values in self._values.items()]


def in_turn(runs: int, turns: dict[str, Callable[[], None]]) -> None:
    """Everybody's turn, so many times; slow ones have one."""
    slow = set()
    for _ in range(runs):
        for name, turn in turns.items():
            if name not in slow:
                started = time.monotonic()
                turn()
                if time.monotonic() - started > _SLOW:
                    slow.add(name)
