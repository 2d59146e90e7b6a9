"""Compute the SHA-256 of whole files, and detect changes during the computation."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryofs.errors import ChangedError
from cryofs.storage.byte_source import LocalFile
from cryofs.storage.checksums import file_sha256

OnBytes = Callable[[int], object]


@dataclass(frozen=True)
class Hashed:
    """SHA-256 of a file, and the stat result of the hashed file."""

    sha256: str
    found: os.stat_result


def hash_file(path: Path, on_bytes: OnBytes) -> Hashed:
    """Return the SHA-256 and the stat result of a file.

    Raises
    ------
    ChangedError
        The file changed while it was hashed.
    """
    with LocalFile.open(path) as source:
        try:
            sha256 = file_sha256(source, on_bytes)
        except ChangedError as error:
            raise _changed(path) from error
        if not source.is_unchanged():
            raise _changed(path)
        return Hashed(sha256, source.stat)


def _changed(path: Path) -> ChangedError:
    return ChangedError(f"{path}: changed while it was hashed; retry once the file is complete")
