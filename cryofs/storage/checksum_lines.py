"""Lines of checksum lists, in the format of GNU `sha256sum`."""

import os
import re
from dataclasses import dataclass, field
from typing import NamedTuple

_LINE = re.compile(rb"(\\?)([0-9a-fA-F]{64}) [ *](.+)", re.DOTALL)
_ESCAPES = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r"}
_UNESCAPES = {escape: plain for plain, escape in _ESCAPES.items()}
# A comment about a file that an ingestion left plain, or whose line is not that of a copy.
_SEEN_LINE = re.compile(rb"#(copy|own) (\d+) (\d+) (-?\d+) (-?\d+)  (.+)", re.DOTALL)
# A comment about a copy that a run was about to replace: the checksums before and after.
_PENDING_LINE = re.compile(rb"#replacing ([0-9a-f]{64}) ([0-9a-f]{64})  (.+)", re.DOTALL)
_CONFLICT = "two lines contain different checksums of the same file"


@dataclass(frozen=True)
class BadLine:
    """An invalid line of a list; `name` is the file name in the line, or None if it is unknown."""

    number: int
    data: bytes
    problem: str
    name: str | None = None


class Seen(NamedTuple):
    """The state that a file had when its checksum was computed.

    Attributes
    ----------
    is_copy : bool
        Whether compress copied the file. Otherwise it was written in the archive, and may have no source elsewhere.
    """

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    is_copy: bool

    @classmethod
    def of(cls, found: os.stat_result, *, is_copy: bool) -> "Seen":
        """Return the state in a stat result."""
        return cls(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, is_copy)


@dataclass
class Lines:
    """Contents of a list, by file name: checksums, states of files, and copies that are being replaced.

    `pending` has the checksums of a copy before and after; a kill leaves one of them.
    """

    sums: dict[str, str] = field(default_factory=dict)
    bad: list[BadLine] = field(default_factory=list)
    comments: list[bytes] = field(default_factory=list)
    seen: dict[str, Seen] = field(default_factory=dict)
    pending: dict[str, tuple[str, str]] = field(default_factory=dict)

    def is_copy(self, name: str) -> bool:
        """Return True unless the line of a file is that of a file that was written in the archive."""
        return name not in self.seen or self.seen[name].is_copy

    def copied(self, name: str) -> set[str]:
        """Return the checksums that a file may have if it is a copy, unchanged since."""
        recorded = {self.sums[name]} if name in self.sums and self.is_copy(name) else set()
        return recorded | set(self.pending.get(name, ()))

    def begin(self, name: str, sha256: str | None) -> None:
        """Remove all lines of a file that is about to be replaced, by a copy with this checksum or by another file."""
        old = self.sums.get(name) if self.is_copy(name) else None
        self.set(name, None)
        if old is not None and sha256 is not None:
            self.pending[name] = old, sha256

    def set(self, name: str, sha256: str | None, seen: Seen | None = None) -> None:
        """Replace all lines of a file with one line, or remove them if `sha256` is None."""
        self.bad = [line for line in self.bad if line.name != name]
        self.sums.pop(name, None)
        self.seen.pop(name, None)
        self.pending.pop(name, None)
        if sha256 is not None:
            self.sums[name] = sha256
            if seen is not None:
                self.seen[name] = seen

    def encode(self) -> bytes:
        """Return the bytes of the list: comments and invalid lines first, then checksum lines sorted by name."""
        lines = sorted(self.sums.items(), key=lambda item: os.fsencode(item[0]))
        seen = [_encode_seen(name, self.seen[name]) for name, _ in lines if name in self.seen]
        pending = [
            f"#replacing {old} {new}  ".encode() + _escaped(name) for name, (old, new) in sorted(self.pending.items())
        ]
        others = [*self.comments, *seen, *pending, *(line.data for line in self.bad)]
        return b"".join([*(data + b"\n" for data in others), *(encode_line(*line) for line in lines)])


def encode_line(name: str, sha256: str) -> bytes:
    """Return the line of a file in the format of GNU sha256sum."""
    escaped = _escaped(name)
    return (b"\\" if escaped != os.fsencode(name) else b"") + sha256.encode() + b"  " + escaped + b"\n"


def _encode_seen(name: str, seen: Seen) -> bytes:
    return b"#%b %d %d %d %d  %b" % (b"copy" if seen.is_copy else b"own", *seen[:4], _escaped(name))


def _escaped(name: str) -> bytes:
    return re.sub(rb"[\\\n\r]", lambda found: _ESCAPES[found[0]], os.fsencode(name))


def parse(data: bytes) -> Lines:
    """Parse a list; invalid lines are in `bad` of the result."""
    lines = Lines()
    ambiguous: dict[str, int] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        if (seen := _SEEN_LINE.fullmatch(line)) and (plain := _unescaped(seen[6], True)) is not None:
            numbers = [int(group) for group in seen.groups()[1:5]]
            lines.seen[os.fsdecode(plain)] = Seen(numbers[0], numbers[1], numbers[2], numbers[3], seen[1] == b"copy")
        elif (old := _PENDING_LINE.fullmatch(line)) and (plain := _unescaped(old[3], True)) is not None:
            lines.pending[os.fsdecode(plain)] = old[1].decode(), old[2].decode()
        elif line.startswith(b"#"):
            lines.comments.append(line)
        elif line:
            _parse_line(number, line, lines, ambiguous)
    lines.seen = {name: seen for name, seen in lines.seen.items() if name in lines.sums}
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
