"""The sums of originals, computed ahead of the movie that is being written, or along with it.

SHA-256 runs on one core and takes about as long as everything else that is done to a movie on several, so one thread
starts with the next movie while the present one is still being written.
"""

import hashlib
import itertools
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cryofs.formats.sums import file_sums, quick_sum
from cryofs.movies.mrc import MrcMovie


@dataclass(frozen=True)
class OriginalSums:
    """Sums of a movie file and its frames, and the state of the file (size, mtime_ns) that they are of."""

    state: tuple[int, int]
    sha256: str
    frames: list[str]


class SumsAlong:
    """Sums of a movie that is on no disk, taken while its frames are archived; used by one thread.

    Parameters
    ----------
    state : tuple
        Size and mtime_ns of the file that the movie is made from.
    """

    def __init__(self, header: bytes, state: tuple[int, int]):
        self._header = header
        self._state = state
        self.clear()

    def clear(self) -> None:
        """Begin anew, before the first frame."""
        self._whole = hashlib.sha256(self._header)
        self._frames: list[str] = []

    def add(self, raw: NDArray[np.uint8]) -> None:
        """Bytes of the next frame."""
        self._whole.update(raw.data)
        self._frames.append(quick_sum(raw))

    def result(self) -> OriginalSums:
        """Sums of all frames so far, as those of a whole file."""
        return OriginalSums(self._state, self._whole.hexdigest(), self._frames)


class SumsAhead:
    """Sums of movies that are asked for in a known order; one thread, never more than a movie ahead."""

    def __init__(self, paths: Sequence[Path]):
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sums")
        self._following = dict(itertools.pairwise(paths))
        self._futures: dict[Path, Future[OriginalSums]] = {}
        if paths:
            self._submit(paths[0])

    def of(self, path: Path) -> Future[OriginalSums]:
        """Sums of a movie, under way; those of the next one are begun after them."""
        self._submit(path)
        if path in self._following:
            self._submit(self._following[path])
        return self._futures.pop(path)

    def _submit(self, path: Path) -> None:
        if path not in self._futures:
            self._futures[path] = self._thread.submit(_sums, path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)


def _sums(path: Path) -> OriginalSums:
    with MrcMovie(path) as movie:
        layout = movie.layout
        sha256, frames = file_sums(movie.descriptor, layout.header_bytes, layout.frame_bytes, layout.frames)
        movie.check_unchanged()
        return OriginalSums(movie.state, sha256, frames)
