"""Checking movies frame by frame, several frames at a time."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from cryofs.errors import ArchiveError
from cryofs.formats.tiff import PageLayout
from cryofs.movies.archived import ArchivedMovie, StoredFrame
from cryofs.movies.movie import Movie
from cryofs.movies.source import SourceMovie

# Frames being decoded besides the one that is used; their strips are decoded in the movie's own pool.
_AHEAD = 2
_TRAILING_PIECE = 16 << 20


def checked_frames(movie: Movie) -> Iterator[NDArray[np.uint8]]:
    """Bytes of all frames in order, decoded ahead. A damaged frame raises DamagedError."""
    with ThreadPoolExecutor(_AHEAD) as readers:
        coming = deque(readers.submit(movie.raw_frame, index) for index in range(min(_AHEAD, movie.layout.frames)))
        for index in range(movie.layout.frames):
            raw = coming.popleft().result()
            if index + _AHEAD < movie.layout.frames:
                coming.append(readers.submit(movie.raw_frame, index + _AHEAD))
            yield raw


def compare_frames(
    written: ArchivedMovie, source: SourceMovie, pool: Executor, on_frame: Callable[[int], None]
) -> None:
    """Decode all frames and compare them byte by byte with those of the movie they were made from.

    Raises
    ------
    ArchiveError
        They differ.
    """

    def compare_group(index: int, group: range, stored: StoredFrame) -> bool:
        rows, found = written.raw_rows(stored, group)
        return _same_bytes(found, source.raw_rows(index, rows.start, rows.stop))

    written.prepare()
    under_way: deque[list[Future[bool]]] = deque()
    groups = work_groups(written.page_layout, source)
    ahead = max(_AHEAD, source.decodes_at_once)
    for index in range(written.layout.frames + ahead):
        if index < written.layout.frames:
            stored = written.stored_frame(index)
            under_way.append([pool.submit(compare_group, index, group, stored) for group in groups])
        if index >= ahead and not all(same.result() for same in under_way.popleft()):
            raise ArchiveError(f"{source.name}, frame {index - ahead}: came back changed; check memory and disk")
        if index >= ahead:
            on_frame(1)


def work_groups(layout: PageLayout, source: SourceMovie) -> list[range]:
    """Numbers of the strips of a frame, divided into pieces of work; a rendered frame is best used whole."""
    groups = layout.strip_groups()
    return [range(groups[0].start, groups[-1].stop)] if source.whole_frames else groups


def _same_bytes(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    whole = len(one) // 8 * 8
    return bool(
        np.array_equal(one[:whole].view(np.uint64), other[:whole].view(np.uint64))
        and np.array_equal(one[whole:], other[whole:])
    )


def original_bytes(movie: Movie) -> Iterator[bytes | NDArray[np.uint8]]:
    """All bytes of the MRC file in order, in large pieces."""
    yield movie.header
    yield from checked_frames(movie)
    offset = 0
    while piece := movie.read_trailing(_TRAILING_PIECE, offset):
        yield piece
        offset += len(piece)
