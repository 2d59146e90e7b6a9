"""Lines of checksum lists, in the format of GNU `sha256sum`."""

import os
import re
from dataclasses import dataclass, field

_LINE = re.compile(rb"(\\?)([0-9a-fA-F]{64}) [ *](.+)", re.DOTALL)
_ESCAPES = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r"}
_UNESCAPES = {escape: plain for plain, escape in _ESCAPES.items()}
_CONFLICT = "two lines contain different checksums of the same file"


@dataclass(frozen=True)
class BadLine:
    """An invalid line of a list; `name` is the file name in the line, or None if it is unknown."""

    number: int
    data: bytes
    problem: str
    name: str | None = None


@dataclass
class Lines:
    """Contents of a list: checksums by file name, invalid lines, and comments."""

    sums: dict[str, str] = field(default_factory=dict)
    bad: list[BadLine] = field(default_factory=list)
    comments: list[bytes] = field(default_factory=list)

    def set(self, name: str, sha256: str | None) -> None:
        """Replace all lines of a file with one line, or remove them if `sha256` is None."""
        self.bad = [line for line in self.bad if line.name != name]
        self.sums.pop(name, None)
        if sha256 is not None:
            self.sums[name] = sha256

    def encode(self) -> bytes:
        """Return the bytes of the list: comments and invalid lines first, then checksum lines sorted by name."""
        lines = sorted(self.sums.items(), key=lambda item: os.fsencode(item[0]))
        others = [*self.comments, *(line.data for line in self.bad)]
        return b"".join([*(data + b"\n" for data in others), *(encode_line(*line) for line in lines)])


def encode_line(name: str, sha256: str) -> bytes:
    """Return the line of a file in the format of GNU sha256sum."""
    plain = os.fsencode(name)
    escaped = re.sub(rb"[\\\n\r]", lambda found: _ESCAPES[found[0]], plain)
    return (b"\\" if escaped != plain else b"") + sha256.encode() + b"  " + escaped + b"\n"


def parse(data: bytes) -> Lines:
    """Parse a list; invalid lines are in `bad` of the result."""
    lines = Lines()
    ambiguous: dict[str, int] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.startswith(b"#"):
            lines.comments.append(line)
        elif line:
            _parse_line(number, line, lines, ambiguous)
    for name, number in ambiguous.items():
        line = encode_line(name, lines.sums.pop(name)).removesuffix(b"\n")
        lines.bad.append(BadLine(number, line, _CONFLICT, name))
    return lines


def _parse_line(number: int, line: bytes, lines: Lines, ambiguous: dict[str, int]) -> None:
    found = _LINE.fullmatch(line)
    plain = found and _unescaped(found[3], bool(found[1]))
    if not found or plain is None:
        lines.bad.append(BadLine(number, line, "expected 64 hexadecimal digits, two spaces and a file name"))
        return
    name, sha256 = os.fsdecode(plain), found[2].decode().lower()
    if b"/" in plain or plain in (b".", b".."):
        lines.bad.append(BadLine(number, line, "expected the name of a file in this folder"))
    elif lines.sums.setdefault(name, sha256) != sha256:
        lines.bad.append(BadLine(number, line, _CONFLICT, name))
        ambiguous[name] = number


def _unescaped(name: bytes, is_escaped: bool) -> bytes | None:
    """Return a file name with escapes decoded, or None if an escape is unknown."""
    if not is_escaped:
        return name
    if re.fullmatch(rb"([^\\]|\\[\\nr])+", name, re.DOTALL) is None:
        return None
    return re.sub(rb"\\.", lambda found: _UNESCAPES[found[0]], name)
