"""Read and write the journal of a folder, which names the steps that replace one of its files by another.

A line names two files by name, inode, size and mtime: `counts`, the file that counts as soon as it is there, and
`other`, which does not count from then on and is removed as the last part of the step. A line is durable before the
step begins, and gone after it. So after a kill or a power cut at any moment, readers know which of two files counts,
and `cryofs.archive.recovery` ends the step or finds that it never began.

Several processes may change a journal (`cryofs.storage.locked_file`). A folder without a step has no journal.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote, unquote_to_bytes

import msgspec

from cryofs.errors import ArchiveError
from cryofs.storage import locked_file
from cryofs.storage.atomic_file import OWN_PREFIX
from cryofs.storage.checksums import xxh3_checksum

JOURNAL_NAME = OWN_PREFIX + "journal"
_FIX = "remove it"
# Characters of names that need no escape.
_SAFE = " !#$&'()+,-.:;=@[]^_{}~"
_LARGEST_BYTES = 64 << 20

Number = Annotated[int, msgspec.Meta(ge=0)]
# What a step does; "kept" is not a step under way, but a file that stays hidden for some time after one.
StepName = Literal["ingest", "replace", "thaw", "rename", "exchange", "unlink", "kept"]


class FileMark(msgspec.Struct, frozen=True):
    """A file of the folder: its name, and what stat returned; `mtime_ns` in nanoseconds."""

    name: str
    inode: Number
    size: Number
    mtime_ns: int

    @classmethod
    def of(cls, name: str, found: os.stat_result) -> "FileMark":
        """Return the mark of a file with this name."""
        return cls(name, found.st_ino, found.st_size, found.st_mtime_ns)

    def matches(self, found: os.stat_result | None) -> bool:
        """Return True if a file is exactly as described."""
        return found is not None and self.of(self.name, found) == self


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A step.

    Attributes
    ----------
    counts : FileMark
        The file that counts as soon as it is there.
    other : FileMark
        The file that does not count once `counts` is there.
    hidden : str or None
        Name under which `other` is hidden before it is removed.
    since : float
        Seconds since 1970 when `other` was hidden; 0 while it is not.
    """

    step: StepName
    counts: FileMark
    other: FileMark
    hidden: str | None = None
    since: float = 0.0


@dataclass
class Journal:
    """The lines of a journal, and those that cannot be read; `bad` has the number and bytes of each."""

    lines: list[Line] = field(default_factory=list)
    bad: list[tuple[int, bytes]] = field(default_factory=list)

    def about(self, *names: str) -> list[Line]:
        """Return the lines that name two files of these names."""
        return [line for line in self.lines if {line.counts.name, line.other.name} == set(names)]

    def encode(self) -> bytes:
        """Return the bytes of the journal."""
        return b"".join([*map(_encode_line, self.lines), *(data + b"\n" for _, data in self.bad)])


def read_journal(folder: Path) -> Journal:
    """Return the journal of a folder; empty if there is none.

    Raises
    ------
    ArchiveError
        The journal is not a regular file.
    OSError
        It cannot be read.
    """
    try:
        with locked_file.checked(folder / JOURNAL_NAME, _FIX).open("rb") as file:
            return parse(file.read(_LARGEST_BYTES))
    except FileNotFoundError:
        return Journal()


def parse(data: bytes) -> Journal:
    """Return the contents of a journal."""
    journal = Journal()
    for number, line in enumerate(data.split(b"\n"), 1):
        if line:
            found = _parse_line(line)
            if found is None:
                journal.bad.append((number, line))
            else:
                journal.lines.append(found)
    return journal


def add_line(folder: Path, line: Line) -> None:
    """Add a line to the journal of a folder; the change is durable on return.

    Raises
    ------
    ArchiveError
        The journal has a line about one of the files already, so a step did not end.
    """
    names = {line.counts.name, line.other.name}

    def change(journal: Journal) -> None:
        if any(names & {old.counts.name, old.other.name} for old in journal.lines):
            text = f"{folder / line.counts.name}: an interrupted step is not completed yet"
            raise ArchiveError(f"{text}; run cryofs doctor {folder}")
        journal.lines.append(line)

    _rewrite(folder, change, create=True)


def replace_line(folder: Path, old: Line, new: Line | None) -> None:
    """Replace a line of the journal of a folder, or remove it (None); the change is durable on return."""

    def change(journal: Journal) -> None:
        journal.lines = [line for line in journal.lines if line != old]
        if new is not None:
            journal.lines.append(new)

    _rewrite(folder, change, create=new is not None)


def remove_bad_lines(folder: Path) -> None:
    """Remove the lines that cannot be read from the journal of a folder."""
    _rewrite(folder, lambda journal: journal.bad.clear(), create=False)


def _rewrite(folder: Path, change: Callable[[Journal], object], *, create: bool) -> None:
    def change_bytes(old: bytes) -> bytes:
        journal = parse(old)
        change(journal)
        return journal.encode()

    locked_file.rewrite(folder / JOURNAL_NAME, change_bytes, create=create, fix=_FIX)


def _encode_line(line: Line) -> bytes:
    text = msgspec.json.encode(_with_names(line, lambda name: quote(os.fsencode(name), safe=_SAFE)))
    return xxh3_checksum(text).encode() + b" " + text + b"\n"


def _parse_line(data: bytes) -> Line | None:
    checksum, _, text = data.partition(b" ")
    if checksum != xxh3_checksum(text).encode():
        return None
    try:
        line = _with_names(
            msgspec.json.decode(text, type=Line), lambda name: os.fsdecode(unquote_to_bytes(name.encode()))
        )
    except (msgspec.MsgspecError, UnicodeError):
        return None
    names = [line.counts.name, line.other.name, *([line.hidden] if line.hidden is not None else [])]
    is_valid = all(name not in ("", ".", "..") and "/" not in name and "\0" not in name for name in names)
    return line if is_valid and line.counts.name != line.other.name else None


def _with_names(line: Line, change: Callable[[str], str]) -> Line:
    counts, other = (msgspec.structs.replace(mark, name=change(mark.name)) for mark in (line.counts, line.other))
    hidden = None if line.hidden is None else change(line.hidden)
    return msgspec.structs.replace(line, counts=counts, other=other, hidden=hidden)
