"""The part of the report about reading: a table of each kind, a row a load, a column a way."""

import math
from collections.abc import Sequence

from benchmarks.competitors import OURS
from benchmarks.figures import Reading
from benchmarks.markdown import NOTHING, table
from benchmarks.readings import EER, K2, MEMORY, NAMES, PROGRAMS

_INTRODUCTION = """\
Everybody reads the same movies in the same run, in turn; figures are medians, and of those that take long there is one
run. In brackets: how many times as fast cryofs is. Cold: just mounted, and the kernel has forgotten all pages (as root;
otherwise those of the files that are read). Warm: the same again."""
_TEXTS = {
    K2: """\
Movies of full size, four of them where there are four readers, a process each. squashfs is zstd at level 3 in blocks of
128 KiB: its default level takes minutes a movie. The .zst files are made by pzstd -3, which makes frames among which
one can be sought. The .bz2 file is the first quarter of a movie. In-process decoding is the same four movies by four
threads without a mount. mmap touches every page in order; random reads are of one movie, at 100 places.""",
    EER: "All fractions of a movie, read through the mount, against RELION making its TIFF file of the same fractions.",
    NAMES: """\
Archived movies of a few kB. The kernel has forgotten all pages, names and attributes before (as root); once more: it
has not. No index: this is the first mount of the archive, the listing begins as soon as it is there. Index: an earlier
mount has left its index. Each stat is of another name.""",
    PROGRAMS: "Nothing is in memory before. The program computes most of the time.",
    MEMORY: """\
Two readers in order, one at random, one that lists, one that opens and closes, without a pause, on four movies, which
are more than the cache holds.""",
}


def readings_text(readings: Sequence[Reading]) -> list[str]:
    """The tables with their titles and texts."""
    parts = [_INTRODUCTION]
    for name in dict.fromkeys(reading.table for reading in readings):
        parts += [f"### {name}", _TEXTS[name], readings_table(readings, name)]
    return parts


def readings_table(readings: Sequence[Reading], name: str) -> str:
    """One of the tables; cryofs comes first."""
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
    """Three digits, at least those before the point."""
    return f"{value:.{max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0}f}"
