"""Reading section of the report: one table per kind of movie, with a row per load and a column per way."""

import math
from collections.abc import Sequence

from benchmarks.competitors import OURS
from benchmarks.figures import Reading
from benchmarks.markdown import NOTHING, table
from benchmarks.readings import CROPPING, EER, K2, MEMORY, NAMES, PROGRAMS, SMALL, STARTING

_INTRODUCTION = """\
All ways of reading get the same movies in the same run, in turn; figures are medians, and what takes long ran once. In
brackets: how many times as fast cryofs is. Cold: the mount is idle and the page cache is empty (as root; otherwise only
the pages of the files read are dropped). Warm: the same read again."""
_TEXTS = {
    K2: """\
Full-size movies; four of them, with one process each, where there are four readers. squashfs is zstd at level 3 in
blocks of 128 KiB, because its default level takes minutes per movie. The .zst files come from pzstd -3, which writes
frames that can be sought. The .bz2 file is the first quarter of a movie. "In-process decoding" decodes the same four
movies with four threads and no mount. mmap touches every page in order; random reads go to 100 places of one movie.""",
    EER: "All fractions of a movie read through the mount, against RELION writing a TIFF file of the same fractions.",
    NAMES: """\
Archived movies of a few kB. The page cache and the caches of names and attributes are empty before each run (as root);
"once more" leaves them full. Without index: the first mount of the archive, listed as soon as it is live. With index:
an earlier mount left its index. Each stat queries another name.""",
    PROGRAMS: "Caches are empty at the start. The program computes most of the time.",
    SMALL: """\
Diffraction patterns as of 4D-STEM. Times to compress, verify and extract are those of the whole program, including
start-up. The peers copy the original or hash it: they neither compress nor decode. Movies of five frames of 128 x 128
pixels are read one after the other in one mount.""",
    STARTING: """\
A folder with one full-size EER movie, and its squashfs image. "Right after mounting" drops the page cache first, with
the libraries of cryofs that are not in use. Commands are compared with an interpreter that does nothing.""",
    CROPPING: """
A fraction of 24 frames of a full-size EER movie in memory, on one core: the time with cropping less the time without,
against rfft2 of the 8K image and irfft2 of the 4K image in single precision.""",
    MEMORY: """\
Two sequential readers, one random reader, one that lists and one that opens and closes, without a pause, on four movies
that exceed the cache.""",
}


def readings_text(readings: Sequence[Reading]) -> list[str]:
    """Return the tables with their titles and texts."""
    parts = [_INTRODUCTION]
    for name in dict.fromkeys(reading.table for reading in readings):
        parts += [f"### {name}", _TEXTS[name], readings_table(readings, name)]
    return parts


def readings_table(readings: Sequence[Reading], name: str) -> str:
    """Return one of the tables, with cryofs in the first column."""
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
