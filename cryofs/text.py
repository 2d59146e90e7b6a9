"""Text for people: names of files may hold bytes that are not UTF-8, line breaks, or orders to a terminal."""

import re

# Halves of surrogate pairs that do not stand for a byte of a file name.
_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
# C0, DEL and C1 controls, line and paragraph separators, and marks that reverse the direction of writing: printed as
# they are, they break a line, hide a part of a name, or move the cursor.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def as_unicode(name: str) -> str:
    """Return a name as valid Unicode; bytes that are not UTF-8 become escapes such as `\\xff`."""
    return _LONE.sub(_escape, name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def printable(text: str) -> str:
    """Return text as one line that is safe to print: valid Unicode, with control characters as escapes (`\\n`)."""
    return _CONTROL.sub(_escape, as_unicode(text))


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
