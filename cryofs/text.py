"""Numbers as people read them."""

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def size_text(count: float) -> str:
    """Bytes for people: 2.28 GB."""
    for unit in _UNITS:
        if count < 1000 or unit == _UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.2f} {unit}"
        count /= 1000
    raise AssertionError


def percent(ratio: float | None) -> str:
    """A ratio as a percentage."""
    return "-" if ratio is None else f"{100 * ratio:.2f} %"


def printable(name: str) -> str:
    """A name as valid Unicode; bytes of file names that are no UTF-8 become escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
