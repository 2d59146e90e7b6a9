"""Open files: bytes at an offset, from a frame of a movie or straight from the archive's file.

Threads: an open file may be read by any number of threads; it keeps no position.
"""

import functools
import os
from collections import deque
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
        # while one frame is decoded ahead, a reader that jumped need not wait for it
        self._at_once = max(2, movie.decodes_at_once)
        # what a reader did so far: hints for read-ahead and for the store, so they need no lock
        self._served: dict[int, int] = {}
        self._last_frame = -1
        self._steps = 0
        self._coming: deque[Future[None]] = deque()

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
        # another reader may be waiting for these frames, so the file must stay open until they are there
        wait(self._coming)
        self._movie.close()

    def frame_at(self, offset: int) -> int | None:
        """Frame that holds the byte at an offset, None for the header and what follows the frames."""
        layout = self._movie.layout
        if not layout.header_bytes <= offset < layout.data_end:
            return None
        return (offset - layout.header_bytes) // layout.frame_bytes

    def _piece(self, offset: int, end: int) -> Bytes:
        """Bytes from `offset` on, of the one part of the file that holds it, not beyond `end`."""
        layout = self._movie.layout
        if offset < layout.header_bytes:
            return self._movie.header[offset:end]
        if offset >= layout.data_end:
            start = layout.data_end
            return self._movie.read_trailing(end - offset, offset - start)
        index, start = divmod(offset - layout.header_bytes, layout.frame_bytes)
        piece = self._movie.piece(self._frame(index), start, min(end - offset, layout.frame_bytes - start))
        self._note_served(index, len(piece))
        return piece

    def _note_served(self, index: int, count: int) -> None:
        """Tell the store of a frame whose bytes have all been given away."""
        done = self._served.pop(index, 0) + count
        if done < self._movie.layout.frame_bytes:
            self._served[index] = done
        else:
            self._store.served((*self._identity, index))

    def _frame(self, index: int) -> NDArray[Any]:
        if index == self._last_frame:
            return self._get(index)
        self._steps = self._steps + 1 if index == self._last_frame + 1 else 0
        self._last_frame = index
        if self._steps > 1:
            self._read_ahead(index)
            return self._get(index)
        # a first frame is waited for: nothing may compete with it
        frame = self._get(index)
        self._read_ahead(index)
        return frame

    def _get(self, index: int) -> NDArray[Any]:
        decode = functools.partial(self._movie.kept_frame, index)
        return self._store.get((*self._identity, index), self._movie.kept_bytes, decode, self._at_once)

    def _read_ahead(self, index: int) -> None:
        """Have the next frames decoded, the more of them the longer a reader goes on in order."""
        while self._coming and self._coming[0].done():
            self._coming.popleft()
        movie = self._movie
        ahead = min(2 * self._steps - 1, movie.decodes_at_once)
        for coming in range(index + 1, min(index + 1 + ahead, movie.layout.frames)):
            decode = functools.partial(movie.kept_frame, coming)
            if begun := self._store.prefetch((*self._identity, coming), movie.kept_bytes, decode, self._at_once):
                self._coming.append(begun)
