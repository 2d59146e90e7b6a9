"""Check existing files of an archive: find finished movies and copies, and files that must not be overwritten."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from cryofs.archive.identify import held_movie
from cryofs.compress.unpack import header_in
from cryofs.errors import ArchiveError, CryofsError
from cryofs.formats.archive_names import original_name
from cryofs.formats.record import Rendered, is_archived
from cryofs.gain.references import References
from cryofs.movies import registry
from cryofs.movies.source import SourceMovie
from cryofs.storage import checksum_lists
from cryofs.storage.atomic_file import regular_file
from cryofs.storage.byte_source import LocalFile
from cryofs.storage.checksums import file_sha256
from cryofs.storage.coarse_times import is_same_time


@dataclass(frozen=True)
class MovieInfo:
    """Facts about a movie from the header and the inode of its file; `bytes` is the file size."""

    path: Path
    shape: tuple[int, int, int]
    mode: int
    bytes: int
    original_bytes: int
    mtime_ns: int
    rendered: Rendered | None
    is_packed: bool = False


def inspect(movie: SourceMovie, path: Path) -> MovieInfo:
    """Return facts about a movie from its header and inode; decode no frame."""
    rendered = movie.rendered
    if rendered is not None:
        # unknown until the movie is rendered
        rendered = msgspec.structs.replace(rendered, damaged_frames=[])
    size, mtime_ns = movie.state
    return MovieInfo(path, movie.shape, movie.mrc_header.mode, size, movie.layout.total_bytes, mtime_ns, rendered)


def inspect_packed(path: Path) -> MovieInfo:
    """Return facts about a packed movie from the start of the file, without the bytes after the last frame."""
    with LocalFile.open(path) as source:
        header, found = header_in(source), source.stat
    size, mtime_ns = found.st_size, found.st_mtime_ns
    return MovieInfo(path, header.shape, header.mode, size, header.data_end, mtime_ns, None, is_packed=True)


def is_done(target: Path, info: MovieInfo, references: References) -> bool:
    """Return True if the archive already contains this movie and the gain reference that it needs."""
    try:
        record = held_movie(target)
    except CryofsError:
        return False
    if record is None or (record.needed_gain and not references.provides(target.parent, record.needed_gain)):
        return False
    if record.rendered is not None and info.rendered is not None:
        same_source = msgspec.structs.replace(record.rendered, damaged_frames=[]) == info.rendered
        return same_source and (record.shape, record.mrc_mode) == (info.shape, info.mode)
    same_kind = record.rendered is info.rendered and (record.packed is not None) == info.is_packed
    return same_kind and record.source_state == (info.bytes, info.mtime_ns)


def is_copy(source: Path, target: Path) -> bool:
    """Return True if a file of the archive has the size and modification time of a source, as far as storage keeps it.

    Storage may round times; see `cryofs.storage.coarse_times`.
    """
    there = regular_file(target)
    here = source.stat()
    if there is None or here.st_size != there.st_size:
        return False
    return is_same_time(there.st_mtime_ns, here.st_mtime_ns, target.parent)


def replaced_text(target: Path, size: int, mtime_ns: int) -> str:
    """Return the message that a run replaced a different original of the same name."""
    time = np.datetime64(mtime_ns, "ns").astype("datetime64[s]")
    return f"{target}: replaced another original with this name in the archive ({size} bytes, {time} UTC)"


def refuse_clash(source: Path, target: Path) -> None:
    """Raise ArchiveError if a file would overwrite an archived movie with the same name."""
    if original_name(target.name) is None or not target.is_file():
        return
    with LocalFile.open(target) as held:
        if is_archived(held):
            raise ArchiveError(f"{source}: name already taken by an archived movie ({target}); rename the file")


def refuse_written(source: Path, target: Path) -> None:
    """Raise ArchiveError if a file would overwrite one that no run copied, or that changed since, and that differs."""
    with LocalFile.open(target) as there, LocalFile.open(source) as here:
        sha256 = file_sha256(there)
        if checksum_lists.is_copy_with(target, sha256) or (here.size == there.size and file_sha256(here) == sha256):
            return
    raise written_error(target, source)


def written_error(target: Path, source: Path) -> ArchiveError:
    """Return the error for a file of the archive that a run must not replace."""
    text = f"{target}: written or changed in the archive, and differs from {source}"
    return ArchiveError(f"{text}; compare both files, then rename one of them or remove the file in the archive")


def refuse_without_gain(source: Path) -> None:
    """Raise ArchiveError if a source is an archived movie that needs a gain reference, because a copy would lack it."""
    record = held_movie(source.resolve()) if registry.may_have_record(source.name) else None
    if record is not None and record.needed_gain is not None:
        raise ArchiveError(
            f"{source}: is an archived movie that needs {record.needed_gain.name} of its archive; "
            "copy the whole archive with cp -a or rsync, or compress from a mount"
        )
