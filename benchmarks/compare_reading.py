"""Compare reading through the mount with other ways of reading the same bytes, alternately within one run."""

import functools
from collections.abc import Sequence

from benchmarks.competitors import OURS
from benchmarks.figures import READING_NOTE, Reading
from benchmarks.measure import forget
from benchmarks.reading_loads import FOUR_READERS, LOADS, ONE_READER, RANDOM, Load, Measured
from benchmarks.reading_peers import Session, Way, ways
from benchmarks.readings import K2, Readings, in_turn

_SEQUENTIAL = (ONE_READER.name, FOUR_READERS.name)
_PART = (ONE_READER.name, *(load.name for load in RANDOM))


def read_k2(session: Session, runs: int, notes: list[str]) -> list[Reading]:
    """Measure all loads of gain-normalised movies in all ways of reading."""
    session.compress()
    readings = Readings(K2)
    first_mounts: dict[str, float] = {}
    there = prepared(ways(session, _SEQUENTIAL, _PART, (FOUR_READERS.name,)), first_mounts, notes)
    for load in LOADS:
        able = [way for way in there if way.loads is None or load.name in way.loads]
        in_turn(runs, {way.name: functools.partial(_measure, way, load, readings) for way in able})
    for name, seconds in first_mounts.items():
        readings.add("mounting for the first time, which makes an index", name, "s", seconds)
    return readings.all()


def prepared(all_ways: Sequence[Way], first_mounts: dict[str, float], notes: list[str]) -> list[Way]:
    """Return the ways available on this machine, prepared; add a note for each unavailable way."""
    there = []
    for way in all_ways:
        why_not = way.why_not or _prepare(way, first_mounts)
        if why_not is None:
            there.append(way)
        else:
            notes.append(f"{READING_NOTE}{way.name}: {why_not}.")
            print(notes[-1], flush=True)
    return there


def _prepare(way: Way, first_mounts: dict[str, float]) -> str | None:
    """Prepare a way; return the reason if it is not available, such as a kernel without squashfs."""
    try:
        seconds = way.prepare()
        with way.opened():
            pass
    except SystemExit as error:
        if way.name == OURS:
            raise
        return " ".join(str(error).split())
    if seconds is not None:
        first_mounts[way.name] = seconds
    return None


def _measure(way: Way, load: Load, readings: Readings) -> None:
    """Measure a load with empty caches, then with warm caches."""

    def keep(found: Sequence[Measured], state: str) -> None:
        for measured in found:
            readings.add(f"{measured.what}, {state}", way.name, measured.unit, measured.value)

    with way.opened() as opened:
        forget([*opened.stored, *opened.paths])
        keep(load.measure(opened), "cold")
        if way.again:
            keep(load.measure(opened), "warm")
        if opened.mount_seconds is not None and load is ONE_READER:
            readings.add("mounting", way.name, "s", opened.mount_seconds)
