"""What an archive holds already: whether a movie or a file of a run has been done before."""

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cryofs.errors import CryofsError
from cryofs.formats.record import Rendered, is_archived, read_record
from cryofs.movies.eer import EerMovie
from cryofs.movies.names import printable
from cryofs.movies.source import SourceMovie


@dataclass(frozen=True)
class MovieInfo:
    """What is known of a movie from its header and its inode; `bytes` is the size of the file that it is in."""

    path: Path
    shape: tuple[int, int, int]
    mode: int
    bytes: int
    original_bytes: int
    mtime_ns: int
    rendered: Rendered | None


def look_at(movie: SourceMovie, path: Path) -> MovieInfo:
    """What is known of a movie before anything of it is decoded."""
    rendered = None
    if isinstance(movie, EerMovie):
        # which frames are damaged is known once they are rendered
        rendered = msgspec.structs.replace(rendered_from(movie), damaged_frames=[])
    size, mtime_ns = movie.state
    return MovieInfo(path, movie.shape, movie.mrc_header.mode, size, movie.layout.total_bytes, mtime_ns, rendered)


def rendered_from(movie: EerMovie) -> Rendered:
    """What the record says of the EER file that a movie is rendered from."""
    return Rendered(
        name=printable(movie.path.name),
        bytes=movie.stat.st_size,
        mtime_ns=movie.stat.st_mtime_ns,
        frames=movie.index.frames,
        grouping=movie.grouping,
        upsampling=movie.rendering.upsampling,
        damaged_frames=movie.findings.damaged_frames,
    )


def is_done(target: Path, info: MovieInfo) -> bool:
    """Whether the archive holds this very movie; a target of that name that holds another is done again."""
    if not target.is_file():
        return False
    with target.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            if not is_archived(file.fileno(), size, str(target)):
                return False
            record = read_record(file.fileno(), size, str(target))
        except CryofsError:
            return False
    if record.rendered is not None and info.rendered is not None:
        same_source = msgspec.structs.replace(record.rendered, damaged_frames=[]) == info.rendered
        return same_source and (record.shape, record.mrc_mode) == (info.shape, info.mode)
    same_kind = record.rendered is info.rendered
    return same_kind and (record.original.bytes, record.original.mtime_ns) == (info.bytes, info.mtime_ns)


def is_copy(source: Path, target: Path) -> bool:
    """Whether a file of the archive is a copy of a source, by size and time."""
    if not target.is_file():
        return False
    here, there = source.stat(), target.stat()
    return (here.st_size, here.st_mtime_ns) == (there.st_size, there.st_mtime_ns)
