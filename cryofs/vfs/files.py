"""Open files: bytes at an offset, from a frame of a movie or straight from the archive's file.

Threads: an open file may be read by any number of threads; it keeps no position.
"""

import os
from concurrent.futures import Future, wait
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cryofs.frames.store import FrameStore
from cryofs.movies.movie import Movie

Bytes = bytes | NDArray[np.uint8]


class OpenFile(Protocol):
    """A file that was opened through the mount."""

    def read(self, size: int, offset: int) -> Bytes:
        """`size` bytes at `offset`, fewer only where the file ends."""

    def close(self) -> None:
        """Release it."""


class PlainFile:
    """A file of the archive that is shown as it is."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor

    def read(self, size: int, offset: int) -> Bytes:
        """Bytes of the file."""
        pieces = []
        while size > 0 and (piece := os.pread(self._descriptor, size, offset)):
            pieces.append(piece)
            size -= len(piece)
            offset += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Release the descriptor."""
        os.close(self._descriptor)


class MovieFile:
    """A movie shown as an MRC file, its frames from the frame store.

    Parameters
    ----------
    identity : tuple
        Tells this state of the archive's file from all others; frames are kept under it.
    """

    def __init__(self, movie: Movie, identity: tuple[object, ...], store: FrameStore):
        self._movie = movie
        self._identity = identity
        self._store = store
        self._last_frame = -1
        self._coming: Future[None] | None = None

    def read(self, size: int, offset: int) -> Bytes:
        """Bytes of the MRC file; a view of a cached frame where one frame holds them all."""
        layout = self._movie.layout
        end = min(offset + size, layout.total_bytes)
        pieces: list[Bytes] = []
        while offset < end:
            piece = self._piece(offset, end)
            pieces.append(piece)
            offset += len(piece)
        if len(pieces) == 1:
            return pieces[0]
        return b"".join(piece if isinstance(piece, bytes) else piece.tobytes() for piece in pieces)

    def close(self) -> None:
        """Release the movie; its frames stay in the store for whoever opens it next."""
        if self._coming is not None:
            # another reader may be waiting for this frame, so the file must stay open until it is there
            wait([self._coming])
        self._movie.close()

    def _piece(self, offset: int, end: int) -> Bytes:
        """Bytes from `offset` on, of the one part of the file that holds it, not beyond `end`."""
        layout = self._movie.layout
        if offset < layout.header_bytes:
            return self._movie.header[offset:end]
        if offset >= layout.data_end:
            start = layout.data_end
            return self._movie.read_trailing(end - offset, offset - start)
        index, start = divmod(offset - layout.header_bytes, layout.frame_bytes)
        return self._movie.piece(self._frame(index), start, min(end - offset, layout.frame_bytes - start))

    def _frame(self, index: int) -> NDArray[Any]:
        movie, size = self._movie, self._movie.kept_bytes
        if index != self._last_frame:
            sequential = index == self._last_frame + 1
            self._last_frame = index
            if sequential and index + 1 < movie.layout.frames:
                frame = self._store.get((*self._identity, index), size, lambda: movie.kept_frame(index))
                coming = self._store.prefetch((*self._identity, index + 1), size, lambda: movie.kept_frame(index + 1))
                self._coming = coming or self._coming
                return frame
        return self._store.get((*self._identity, index), size, lambda: movie.kept_frame(index))
