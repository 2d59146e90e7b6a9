"""Format file names and numbers for users; a file name may contain any byte except NUL."""

import re
from collections.abc import Iterable

# Surrogates that do not represent a byte of a file name.
_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
# C0, DEL and C1 controls, line and paragraph separators, and bidirectional marks. Without escapes they could break a
# line, hide part of a name, or move the cursor.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# Limits of a list of files in the figures of a mount: they are an extended attribute, which has at most 64 KiB.
MOST_LINES = 20
_MOST_BYTES = 4000
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def as_unicode(name: str) -> str:
    """Return a name as valid Unicode; bytes that are not UTF-8 become escapes such as `\\xff`."""
    return _LONE.sub(_escape, name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def printable(text: str) -> str:
    """Return text as one line that is safe to print: valid Unicode, with control characters escaped (`\\n`)."""
    return _CONTROL.sub(_escape, as_unicode(text))


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def size_text(count: float) -> str:
    """Return a number of bytes with a unit, such as 2.28 GB."""
    for unit in _UNITS:
        if count < 1000 or unit == _UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.2f} {unit}"
        count /= 1000
    raise AssertionError


def duration_text(seconds: float) -> str:
    """Return a duration with a unit, such as 12 s, 5 min, 3.2 h or 2.0 days."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def first_lines(lines: Iterable[str]) -> list[str]:
    """Return the first lines about files for the figures of a mount, safe to print."""
    found: list[str] = []
    left = _MOST_BYTES
    for line in lines:
        text = printable(line)
        left -= len(text.encode())
        if left < 0 or len(found) == MOST_LINES:
            break
        found.append(text)
    return found


def counted(number: int, noun: str) -> str:
    """Return a number of things, such as 1 movie or 2 movies."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def percent(ratio: float | None) -> str:
    """Return a ratio as a percentage with two decimals, or `-` for None."""
    return "-" if ratio is None else f"{100 * ratio:.2f} %"
