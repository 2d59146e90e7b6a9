"""What an archive saves, and what a file holds: figures for `cryofs info` and `cryofs stats`."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from cryofs.archive.identify import Archived, Damaged, classify
from cryofs.archive.progress import as_told
from cryofs.archive.scan import Kind, collect_archived
from cryofs.errors import CryofsError
from cryofs.movies.archived import ArchivedMovie
from cryofs.movies.registry import open_movie
from cryofs.movies.tiff import ForeignMovie


@dataclass
class Savings:
    """Figures of an archive; `unread` is what they say nothing about, as it could not be read."""

    movies: int = 0
    damaged: int = 0
    original_bytes: int = 0
    stored_bytes: int = 0
    unread: list[CryofsError] = field(default_factory=list)

    @property
    def ratio(self) -> float | None:
        """Stored size as a share of the original one."""
        return self.stored_bytes / self.original_bytes if self.original_bytes else None


def savings(paths: Iterable[Path]) -> Savings:
    """Figures of all archived movies below these paths, from their records."""
    found, problems = collect_archived(paths)
    total = Savings(unread=[problem.error for problem in problems])
    for job in found:
        if job.kind is not Kind.FILE:
            continue
        try:
            what = classify(job.source)
        except OSError as error:
            total.unread.append(as_told(error, job.source))
            continue
        if isinstance(what, Damaged):
            total.damaged += 1
        elif isinstance(what, Archived):
            total.movies += 1
            total.original_bytes += what.record.source_bytes
            total.stored_bytes += what.size
    return total


def describe(path: Path) -> dict[str, Any]:
    """Facts about a movie, archived or plain, as `cryofs info --json` prints them."""
    with open_movie(path) as movie:
        header = movie.mrc_header
        facts: dict[str, Any] = {
            "format": "mrc",
            "shape": list(movie.shape),
            "dtype": movie.dtype.name,
            "mode": header.mode,
            "byte_order": "little" if header.byte_order == "<" else "big",
            "extended_header": header.extended_type or None,
            "pixel_size": header.pixel_size,
            "compression": "none",
            "stored_bytes": movie.layout.total_bytes,
            "original": {"name": path.name, "bytes": movie.layout.total_bytes, "sha256": None},
            "ratio": 1.0,
            "gain": None,
            "exceptions": 0,
        }
        if isinstance(movie, ArchivedMovie):
            facts |= _archived_facts(movie)
        elif isinstance(movie, ForeignMovie):
            facts |= _foreign_facts(movie, path.name)
        return facts


def _foreign_facts(movie: ForeignMovie, name: str) -> dict[str, Any]:
    layout = movie.index.layout
    return {
        "format": "tiff",
        "compression": layout.codec.compression,
        "predictor": layout.codec.predictor,
        "stored_dtype": layout.dtype.name,
        "stored_bytes": movie.stored_bytes,
        "original": {"name": name, "bytes": movie.stored_bytes, "sha256": None},
    }


def _archived_facts(movie: ArchivedMovie) -> dict[str, Any]:
    record = movie.record
    original = record.original
    return {
        "format": "cryofs",
        "compression": record.compression,
        "predictor": record.predictor,
        "coder": record.coder or None,
        "stored_dtype": record.stored_dtype,
        "stored_bytes": movie.stored_bytes,
        "original": {"name": original.name, "bytes": original.bytes, "sha256": original.sha256},
        "ratio": movie.stored_bytes / record.source_bytes,
        "gain": msgspec.structs.asdict(record.gain) if record.gain else None,
        "exceptions": sum(frame.exceptions.count for frame in record.frames if frame.exceptions),
        "exception_bytes": sum(frame.exceptions.blob.stored for frame in record.frames if frame.exceptions),
        "writer": record.writer,
        "adopted": msgspec.to_builtins(record.adopted),
        "rendered": msgspec.structs.asdict(record.rendered) if record.rendered else None,
    }
