"""What the comparisons measured, as it is kept in `table.json`."""

import statistics

import msgspec

RATE = "GB/s"
# begins notes about readings
READING_NOTE = "Reading, "


class Figure(msgspec.Struct, frozen=True):
    """A competitor that compressed so many movies in one run.

    Parameters
    ----------
    case : str
        The kind of movie.
    grouping : int or None
        EER frames in a fraction, where that applies.
    competitor : str
        Who compressed.
    movies : int
        How many movies, at the same time if it can.
    original_bytes, stored_bytes : int
        Size of all of them before and after.
    seconds : list of float
        Each run.
    peak_bytes : int
        The most memory that all its processes took together.
    """

    case: str
    grouping: int | None
    competitor: str
    movies: int
    original_bytes: int
    stored_bytes: int
    seconds: list[float]
    peak_bytes: int

    @property
    def seconds_each(self) -> float:
        """Seconds a movie."""
        return statistics.median(self.seconds) / self.movies

    @property
    def percent(self) -> float:
        """Size in percent of the original."""
        return 100 * self.stored_bytes / self.original_bytes


class GainFigure(msgspec.Struct, frozen=True):
    """A program that estimated a gain reference from so many movies, of which it took so many frames."""

    program: str
    movies: int
    frames: int
    seconds: list[float]
    peak_bytes: int


class Reading(msgspec.Struct, frozen=True):
    """What a way of reading reached, run by run.

    Parameters
    ----------
    table : str
        The table that it is in.
    what : str
        What was read and how: a row.
    way : str
        Through what: a column.
    unit : str
        GB/s, of which more is better; of all others (s, ms, GB) less is.
    values : list of float
        Each run.
    """

    table: str
    what: str
    way: str
    unit: str
    values: list[float]

    @property
    def median(self) -> float:
        """The figure that tables show."""
        return statistics.median(self.values)

    def times(self, other: "Reading") -> float:
        """How many times as good as another this one is."""
        if self.unit == RATE:
            return self.median / other.median
        return other.median / self.median


class Results(msgspec.Struct):
    """All of a run, and where it ran."""

    machine: dict[str, str]
    versions: dict[str, str]
    notes: list[str]
    figures: list[Figure]
    gains: list[GainFigure]
    readings: list[Reading]

    def keep_others(self, before: "Results") -> "Results":
        """These results, and those of an earlier run that are of nothing measured here."""
        cases = {figure.case for figure in self.figures}
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
            self.readings or before.readings,
        )
