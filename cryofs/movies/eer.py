"""EER movies, shown as MRC movies of fractions that are rendered when they are read.

Threads: an `EerMovie` may be read by several threads; `Findings` may be shared by several openings of one file, and its
lock guards its tables.
"""

import logging
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.errors import DamagedError, FormatError
from cryofs.formats import eer
from cryofs.formats.eer import EerIndex, EventStreams
from cryofs.formats.mrc import Layout, MrcHeader
from cryofs.movies.eer_gain import EerGain, EerGains
from cryofs.movies.eer_rendering import Rendering, facts_of, fraction_header
from cryofs.movies.frame_decoder import FrameName
from cryofs.movies.movie import EncodedFrame
from cryofs.movies.source import ReadRows, SourceMovie
from cryofs.storage.byte_source import LocalFile
from cryofs.system.resources import usable_cores

_REMEDY = "copy the file again"

log = logging.getLogger("cryofs")


class Findings:
    """Problems of an EER file that were found while it was rendered; each is logged once.

    Parameters
    ----------
    name : str
        Name of the file in messages.
    """

    def __init__(self, name: str):
        self._name = name
        self._lock = threading.Lock()
        self._damaged: set[int] = set()
        self._saturated: dict[tuple[object, ...], int] = {}

    @property
    def damaged_frames(self) -> list[int]:
        """Frames that were left out of fractions."""
        with self._lock:
            return sorted(self._damaged)

    @property
    def saturated_values(self) -> int:
        """Number of values that exceeded their type and were cut to its largest value."""
        with self._lock:
            return sum(self._saturated.values())

    def add_damaged(self, frames: list[int]) -> None:
        """Note frames that were left out."""
        with self._lock:
            new = sorted(set(frames) - self._damaged)
            self._damaged.update(new)
        if new:
            numbers = ", ".join(map(str, new))
            log.warning("%s, frame %s: damaged, left out of the fraction; copy the file again", self._name, numbers)

    def add_saturated(self, fraction: tuple[object, ...], dtype: str, count: int) -> None:
        """Note values of a fraction that exceeded the type."""
        with self._lock:
            new = fraction not in self._saturated
            self._saturated[fraction] = count
        if new:
            log.warning("%s: %d values exceed %s and were cut; choose a wider type", self._name, count, dtype)


class EerMovie(SourceMovie):
    """An EER file as an MRC movie of fractions.

    Parameters
    ----------
    path : Path
        The EER file.
    index : EerIndex or None
        Its index, if it is known already.
    source : LocalFile or None
        The file, opened already; the movie closes it.

    Raises
    ------
    FormatError
        Not a readable EER file, or it cannot be rendered as requested.
    GainError, ChangedError
        The gain reference to be applied is missing or changed.
    """

    def __init__(
        self,
        path: Path,
        rendering: Rendering,
        gains: EerGains,
        index: EerIndex | None = None,
        source: LocalFile | None = None,
        findings: Findings | None = None,
    ):
        self.source = source or LocalFile.open(path)
        self.name = self.source.name
        self.path = path
        self.rendering = rendering
        self.findings = findings or Findings(self.name)
        try:
            self.index = index or eer.read_index(self.source)
            self.facts = facts_of(self.index)
            self.grouping = self.facts.grouping(rendering, self.name)
            self.fractions = self.facts.fractions(rendering, self.name)
            self._header = fraction_header(self.facts, rendering, self.name)
            self.gain = self._loaded_gain(gains) if rendering.apply_gain else None
        except BaseException:
            self.source.close()
            raise
        self.findings.add_damaged(np.flatnonzero(~self.index.intact).tolist())
        self.layout = Layout.of(self._header)
        # a string, because strings keep their hash
        shown = f"{rendering}, {self.gain and self.gain.state}"
        self.identity = *self.source.identity, shown

    @property
    def mrc_header(self) -> MrcHeader:
        """Header of the virtual file."""
        return self._header

    @property
    def decodes_at_once(self) -> int:
        """One core renders a fraction, so several fractions are rendered at the same time."""
        return usable_cores()

    def decoded_bytes(self, rows: range | None = None) -> int:
        """Return the bytes of memory of a fraction, which is cached in the smallest type that holds its counts."""
        _, ny, nx = self.shape
        return ny * nx * np.min_scalar_type(len(self.fractions[0])).itemsize

    def read_frame(self, index: int, rows: range | None = None) -> "EncodedFraction":
        """Read the event streams of a fraction; an EER file has no checksums.

        Raises
        ------
        ChangedError
            The file was written to after it was opened.
        DamagedError
            None of its frames is in the file, or the storage returns an error.
        """
        if rows is not None:
            raise ValueError(f"{self.name}: fractions are rendered whole")
        frames = [frame for frame in self.fractions[index] if self.index.intact[frame]]
        if not frames:
            raise self.none_intact(index)
        try:
            streams = eer.read_streams(self.source, self.index, frames)
        except OSError as error:
            self.check_unchanged()
            raise FrameName(self.name, index, _REMEDY).damaged(error) from error
        self.check_unchanged()
        return EncodedFraction(self, index, frames, streams)

    def mrc_bytes(self, decoded: NDArray[Any], start: int, size: int) -> NDArray[np.uint8]:
        """Return bytes of the MRC file from the counts of a fraction."""
        item = self.dtype.itemsize
        first, end = start // item, -(-(start + size) // item)
        values = decoded[first:end].astype(self.dtype)
        if self.gain is not None:
            values *= self.gain.values.reshape(-1)[first:end]
        return values.view(np.uint8)[start - first * item :][:size]

    def read_rows(self, index: int, first: int, raw: NDArray[np.uint8]) -> None:
        """Fill `raw` with rows of a fraction, which is rendered anew each time."""
        self._copy_rows(self._render(index), first, raw)

    def in_order(self, pool: Executor, ahead: int) -> Iterator[ReadRows]:
        """Iterate over functions that copy rows of a fraction, one function a fraction."""
        free: list[NDArray[Any]] = []
        coming: deque[Future[NDArray[Any]]] = deque()
        try:
            for index in range(self.layout.frames + ahead):
                if index >= ahead:
                    counts = coming.popleft().result()
                    yield partial(self._copy_rows, counts)
                    free.append(counts)
                if index < self.layout.frames:
                    coming.append(pool.submit(self._render, index, free.pop() if free else None))
        finally:
            for future in coming:
                future.cancel()

    def _render(self, index: int, memory: NDArray[Any] | None = None) -> NDArray[Any]:
        return self.read_frame(index).decode(memory)

    def _copy_rows(self, counts: NDArray[Any], first: int, raw: NDArray[np.uint8]) -> None:
        if self.gain is not None:
            raw[:] = self.mrc_bytes(counts, first * self._header.row_bytes, len(raw))
        else:
            values = raw.view(self.dtype)
            start = first * self._header.nx
            np.copyto(values, counts[start : start + len(values)], casting="unsafe")

    def read_trailing(self, size: int, offset: int) -> bytes:
        """Return nothing: the virtual file ends with its fractions."""
        return b""

    def none_intact(self, index: int) -> DamagedError:
        """Return the error for a fraction of which no frame is intact."""
        frames = self.fractions[index]
        reason = FormatError(f"none of the EER frames {frames[0]} to {frames[-1]} is intact")
        return FrameName(self.name, index, _REMEDY).damaged(reason)

    def saturate(self, image: NDArray[Any], index: int) -> None:
        """Cut counts of a fraction that the pixel type cannot hold."""
        if self.dtype.kind == "f" or len(self.fractions[index]) <= (largest := np.iinfo(self.dtype).max):
            return
        over = image > largest
        if count := int(np.count_nonzero(over)):
            image[over] = largest
            self.findings.add_saturated((self.rendering, index), self.dtype.name, count)

    def _loaded_gain(self, gains: EerGains) -> EerGain:
        if self.rendering.gain is None:
            raise FormatError(f"{self.name}: no gain reference to apply; give one by --eer-gain")
        return gains.get(self.rendering.gain, (self._header.ny, self._header.nx))


@dataclass(frozen=True)
class EncodedFraction(EncodedFrame):
    """The event streams of the frames of a fraction that are in the file."""

    movie: EerMovie
    index: int
    frames: list[int]
    streams: EventStreams

    def decode(self, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the counts of the fraction in an unsigned type that holds them; damaged frames are left out.

        Raises
        ------
        DamagedError
            No frame ends at the last pixel.
        """
        # compiled code takes a third of a second to load, which only those who render should wait for
        from cryofs.kernels import eer_events

        movie, streams = self.movie, self.streams
        added = eer_events.sum_events(
            streams.words, streams.starts, streams.ends, *movie.index.geometry, movie.rendering.upsampling, out
        )
        whole = {frame for frame, count in zip(self.frames, added.events.tolist(), strict=True) if count >= 0}
        movie.findings.add_damaged([frame for frame in movie.fractions[self.index] if frame not in whole])
        if not whole:
            raise movie.none_intact(self.index)
        movie.saturate(added.image, self.index)
        return added.image.reshape(-1)
