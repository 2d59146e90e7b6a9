"""Results of the comparisons, as stored in `table.json`."""

import statistics

import msgspec

RATE = "GB/s"
# prefix of notes about readings
READING_NOTE = "Reading, "


class Figure(msgspec.Struct, frozen=True):
    """Result of the compression of some movies by one program.

    Parameters
    ----------
    case : str
        Kind of movie.
    grouping : int or None
        EER frames per fraction, if applicable.
    competitor : str
        Name of the program.
    movies : int
        Number of movies in a run, compressed in parallel if the program supports it.
    original_bytes, stored_bytes : int
        Total size in bytes, before and after compression.
    seconds : list of float
        Wall time of each run.
    peak_bytes : int
        Peak memory of all processes together, in bytes.
    core_seconds : list of float
        Processor time of each run in seconds; empty for several movies, because some of their processes are not waited
        for.
    """

    case: str
    grouping: int | None
    competitor: str
    movies: int
    original_bytes: int
    stored_bytes: int
    seconds: list[float]
    peak_bytes: int
    core_seconds: list[float] = []

    @property
    def seconds_each(self) -> float:
        """Seconds per movie."""
        return statistics.median(self.seconds) / self.movies

    @property
    def percent(self) -> float:
        """Stored size as a percentage of the original size."""
        return 100 * self.stored_bytes / self.original_bytes


class GainFigure(msgspec.Struct, frozen=True):
    """Result of a gain estimation by one program; memory in bytes, and the wall time of each run in seconds."""

    program: str
    movies: int
    frames: int
    seconds: list[float]
    peak_bytes: int


class Reading(msgspec.Struct, frozen=True):
    """Measured values of a load for one way of reading.

    Parameters
    ----------
    table : str
        Table of the report.
    what : str
        Row: the load.
    way : str
        Column: the way of reading.
    unit : str
        GB/s (higher is better), or s, ms or GB (lower is better).
    values : list of float
        Value of each run.
    """

    table: str
    what: str
    way: str
    unit: str
    values: list[float]

    @property
    def median(self) -> float:
        """Median of all runs, shown in tables."""
        return statistics.median(self.values)

    def times(self, other: "Reading") -> float:
        """Return the ratio by which this reading is better than another."""
        if self.unit == RATE:
            return self.median / other.median
        return other.median / self.median


class Results(msgspec.Struct):
    """All results of a run, and a description of the machine."""

    machine: dict[str, str]
    versions: dict[str, str]
    notes: list[str]
    figures: list[Figure]
    gains: list[GainFigure]
    readings: list[Reading]

    def keep_others(self, before: "Results") -> "Results":
        """Return these results, plus those of an earlier run for everything not measured in this run."""
        cases = {figure.case for figure in self.figures}
        tables = {reading.table for reading in self.readings}
        again = (*cases, READING_NOTE) if self.readings else tuple(cases)
        figures = []
        for case in dict.fromkeys(figure.case for figure in before.figures + self.figures):
            whose = self if case in cases else before
            figures += [figure for figure in whose.figures if figure.case == case]
        return Results(
            self.machine,
            self.versions,
            [note for note in before.notes if not note.startswith(again)] + self.notes,
            figures,
            self.gains or before.gains,
            [reading for reading in before.readings if reading.table not in tables] + self.readings,
        )
