"""Copy files; each copy is compared with its source before it gets its final name."""

import contextlib
import hashlib
import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from cryofs.errors import ArchiveError
from cryofs.storage import changes
from cryofs.storage.atomic_file import Draft, draft, naming, sync_folder
from cryofs.storage.extended_attributes import users_attributes
from cryofs.storage.file_state import is_still, state_of

_CHUNK = 8 << 20

# Called with a target and the SHA-256 of its new bytes; the context surrounds the rename that replaces the target.
Replacing = Callable[[Path, str], AbstractContextManager[None]]


@dataclass(frozen=True)
class Copied:
    """Result of a copy: SHA-256 of the bytes, and stat result of the new file."""

    sha256: str
    found: os.stat_result


def copy_owner(found: os.stat_result, target: int) -> None:
    """Set owner and group of an open file to those of a stat result `found`, if they differ."""
    now = os.fstat(target)
    if (now.st_uid, now.st_gid) != (found.st_uid, found.st_gid):
        changes.disk.set_owner(target, found.st_uid, found.st_gid)


def copy_attributes(source: int, target: int, mode: int) -> None:
    """Give an open file the owner and the programs' extended attributes of another, and a mode."""
    copy_owner(os.fstat(source), target)
    for name in users_attributes(source):
        changes.disk.set_attribute(target, name, os.getxattr(source, name))
    # last, because a change of owner clears bits
    changes.disk.set_mode(target, mode)


def _unsurrounded(_target: Path, _sha256: str) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


def copy_file(source: Path, target: Path, replacing: Replacing = _unsurrounded) -> Copied:
    """Copy a file with its times and mode, durably, and compare the copy with the source.

    Raises
    ------
    ArchiveError
        The copy differs from the source, because the source changed or the disk failed.
    """
    with draft(target) as made, source.open("rb") as original:
        before = os.fstat(original.fileno())
        sha256 = _copy_bytes(original, made)
        made.sync()
        if not _same_bytes(original, made.file) or not is_still(source, state_of(before)):
            raise ArchiveError(f"{source}: changed or replaced while it was copied; retry once the file is complete")
        changes.disk.set_mode(made.file.fileno(), before.st_mode & 0o7777)
        changes.disk.set_times(made.file.fileno(), before.st_atime_ns, before.st_mtime_ns)
        made.sync()
        with replacing(target, sha256):
            made.publish()
        return Copied(sha256, os.fstat(made.file.fileno()))


def compare_copy(source: Path, target: Path) -> Copied | None:
    """Compare an existing copy with its source, and make an equal copy durable.

    Returns
    -------
    Copied or None
        SHA-256 and stat result of the copy, or None if the files differ or the source changed meanwhile.
    """
    with source.open("rb") as original, target.open("rb") as copy:
        before = os.fstat(original.fileno())
        digest = hashlib.sha256()
        if not _same_bytes(original, copy, digest.update) or not is_still(source, state_of(before)):
            return None
        with naming(target):
            changes.disk.sync(copy.fileno())
        sync_folder(target.parent)
        return Copied(digest.hexdigest(), os.fstat(copy.fileno()))


def _copy_bytes(source: io.BufferedReader, made: Draft) -> str:
    """Copy a file to a draft; return the SHA-256 of the bytes, which a second thread computes for large files."""
    digest = hashlib.sha256()
    piece = source.read(_CHUNK)
    if len(piece) < _CHUNK:
        made.write(piece)
        digest.update(piece)
        return digest.hexdigest()
    with ThreadPoolExecutor(1, "sums") as beside:
        while piece:
            hashed = beside.submit(digest.update, piece)
            made.write(piece)
            hashed.result()
            piece = source.read(_CHUNK)
    return digest.hexdigest()


def _same_bytes(
    one: io.BufferedIOBase, other: io.BufferedIOBase, take: Callable[[bytes], object] = lambda _: None
) -> bool:
    """Return True if two files have the same bytes; `take` receives each piece of the first file."""
    one.seek(0)
    other.seek(0)
    while True:
        expected, found = one.read(_CHUNK), other.read(_CHUNK)
        if expected != found:
            return False
        if not expected:
            return True
        take(expected)
