"""What an archive holds already: whether a movie or a file has been done before, and what it may not overwrite."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from cryofs.archive.identify import held_movie
from cryofs.errors import ArchiveError, CryofsError
from cryofs.formats.archive_names import original_name
from cryofs.formats.record import Rendered, is_archived
from cryofs.gain.references import References
from cryofs.movies import registry
from cryofs.movies.source import SourceMovie
from cryofs.storage.atomic_file import regular_file
from cryofs.storage.byte_source import LocalFile


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
    rendered = movie.rendered
    if rendered is not None:
        # which frames are damaged is known once they are rendered
        rendered = msgspec.structs.replace(rendered, damaged_frames=[])
    size, mtime_ns = movie.state
    return MovieInfo(path, movie.shape, movie.mrc_header.mode, size, movie.layout.total_bytes, mtime_ns, rendered)


def is_done(target: Path, info: MovieInfo, references: References) -> bool:
    """Whether the archive holds this very movie and what it needs; another one of that name is done again."""
    try:
        record = held_movie(target)
    except CryofsError:
        return False
    if record is None or (record.needed_gain and not references.serve(target.parent, record.needed_gain)):
        return False
    if record.rendered is not None and info.rendered is not None:
        same_source = msgspec.structs.replace(record.rendered, damaged_frames=[]) == info.rendered
        return same_source and (record.shape, record.mrc_mode) == (info.shape, info.mode)
    same_kind = record.rendered is info.rendered
    return same_kind and (record.original.bytes, record.original.mtime_ns) == (info.bytes, info.mtime_ns)


def is_copy(source: Path, target: Path) -> bool:
    """Whether a file of the archive is a copy of a source, by size and time."""
    there = regular_file(target)
    here = source.stat()
    return there is not None and (here.st_size, here.st_mtime_ns) == (there.st_size, there.st_mtime_ns)


def replaced_text(target: Path, size: int, mtime_ns: int) -> str:
    """What the user is told of an original that the archive holds no longer."""
    time = np.datetime64(mtime_ns, "ns").astype("datetime64[s]")
    return f"{target}: the archive held another original of this name ({size} bytes, {time} UTC): replaced"


def refuse_clash(source: Path, target: Path) -> None:
    """Refuse to overwrite an archived movie by a file of the same name."""
    if original_name(target.name) is None or not target.is_file():
        return
    with LocalFile.open(target) as held:
        if is_archived(held):
            raise ArchiveError(f"{source}: the archive keeps a movie under this name ({target}); rename the file")


def refuse_without_gain(source: Path) -> None:
    """Refuse an archived movie that needs a gain reference: that one would not come along."""
    record = held_movie(source.resolve()) if registry.may_have_record(source.name) else None
    if record is not None and record.needed_gain is not None:
        raise ArchiveError(
            f"{source}: an archived movie, unreadable without {record.needed_gain.name} of its archive; "
            "copy archives as a whole (cp -a, rsync), or compress from a mount"
        )
