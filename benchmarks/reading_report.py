"""Reading section of the report: one table per kind of movie, with a row per load and a column per way of reading."""

import math
from collections.abc import Sequence

from benchmarks.competitors import OURS
from benchmarks.figures import Reading
from benchmarks.markdown import NOTHING, table
from benchmarks.readings import CROPPING, EER, K2, MEMORY, NAMES, PROGRAMS, SESSION, SMALL, STARTING, WRITING

_INTRODUCTION = """\
All ways of reading are measured alternately on the same movies in the same run. Figures are medians; slow measurements
ran once. In brackets: the factor by which cryofs is faster. Cold: the mount is idle and the page cache is empty (as
root; otherwise only the pages of the measured files are dropped). Warm: the same read again."""
_TEXTS = {
    K2: """\
Full-size movies. "Four readers" are four processes, each of which reads a movie of its own. squashfs uses zstd at
level 3 with blocks of 128 KiB, because its default level takes minutes per movie. The .zst files were written by
pzstd -3, as independent frames that allow seeking. The .bz2 file contains the first quarter of a movie. "In-process
decoding" decodes the same four movies in four threads, without a mount. mmap accesses every page in order. Random reads
access 100 positions of one movie. The columns with options of cryofs show whether other settings read faster.""",
    EER: "Reading all fractions of a movie through the mount, compared with RELION writing them to a TIFF file.",
    NAMES: """\
Archived movies of a few kB. The page cache and the caches of names and attributes are empty before each run (as root),
except for "once more". "No index" is the first mount of the archive, listed as soon as it is live. "Index" is a mount
that loads the index of an earlier mount. Each stat queries a different name. "--jobs 1" has one decoding thread, and
"idle" has finished its start before the listing.""",
    PROGRAMS: "Caches are empty at the start. The program spends most of the time on computation.",
    SMALL: """\
Diffraction patterns, as in 4D-STEM. The times to compress, verify and extract are those of the whole program, including
its start. The other programs copy or hash the original, and neither compress nor decode. Movies of five frames of
128 x 128 pixels are read one after another through one mount. The columns with options of cryofs show whether other
settings compress faster.""",
    STARTING: """\
A folder with one full-size EER movie, and its squashfs image. "Right after mounting" starts with an empty page cache,
which also drops libraries of cryofs that are not in use. Commands are compared with a Python interpreter that exits
immediately.""",
    CROPPING: """
A fraction of 24 frames of a full-size EER movie in memory, on one core: the time with cropping minus the time without
cropping, compared with rfft2 of the 8K image plus irfft2 of the 4K image in single precision.""",
    MEMORY: """\
Two sequential readers, a random reader, a program that lists folders and a program that opens and closes files run
without pause on four movies that together exceed the cache.""",
}

_WRITING_TEXTS = {
    WRITING: """\
A full-size K2 movie and a tree of files of 4 kB, copied from the page cache to a writable mount and to a folder on the
disk of its archive. Nothing is archived during that time, except in the row that names it. "Archiving a movie" begins
when the written movie gets its name and ends when it is an archived movie; `cryofs compress` stores the same movie with
the same gain reference, and its time includes its start. Core-seconds are the processor time of all cores together.""",
    SESSION: """\
Full-size K2 movies of ten frames arrive every five seconds, with one change of the gain. A reader reads each as it
arrives, and then an earlier one; RELION corrects the motion of every eighth. Every byte is compared. The same without
archiving: all movies stay plain. Figures are medians over the movies.""",
}


def readings_text(readings: Sequence[Reading]) -> list[str]:
    """Return the tables with their titles and texts."""
    parts = [_INTRODUCTION]
    for name in dict.fromkeys(reading.table for reading in readings):
        parts += [f"### {name}", _TEXTS[name], readings_table(readings, name)]
    return parts


def writing_text(readings: Sequence[Reading]) -> list[str]:
    """Return the tables of writing with their titles and texts."""
    names = dict.fromkeys(reading.table for reading in readings)
    return [part for name in names for part in (f"### {name}", _WRITING_TEXTS[name], readings_table(readings, name))]


def readings_table(readings: Sequence[Reading], name: str) -> str:
    """Return the table of this name, with cryofs in the first column."""
    chosen = [reading for reading in readings if reading.table == name]
    others = dict.fromkeys(reading.way for reading in chosen if reading.way != OURS)
    cells = {(reading.what, reading.way): reading for reading in chosen}
    rows = []
    for what in dict.fromkeys(reading.what for reading in chosen):
        ours = cells.get((what, OURS))
        unit = next(reading.unit for reading in chosen if reading.what == what)
        figures = [_peer(cells.get((what, other)), ours) for other in others]
        rows.append([what, unit, _digits(ours.median) if ours else NOTHING, *figures])
    return table(["", "unit", OURS, *others], rows)


def _peer(theirs: Reading | None, ours: Reading | None) -> str:
    if theirs is None:
        return NOTHING
    ratio = f" ({_digits(ours.times(theirs))})" if ours else ""
    return _digits(theirs.median) + ratio


def _digits(value: float) -> str:
    """Format a value with three significant digits, but all digits before the decimal point."""
    return f"{value:.{max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0}f}"
