"""EER movies, shown as MRC movies of fractions that are rendered when they are read.

Threads: an `EerMovie` may be read by several threads; `Findings` may be shared by several openings of one file, and its
lock guards its tables.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
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
from cryofs.movies.source import ReadRows, SourceMovie
from cryofs.system.resources import usable_cores

log = logging.getLogger("cryofs")


class Findings:
    """What was found wrong with an EER file while it was rendered; each thing is logged once.

    Parameters
    ----------
    name : str
        How messages call the file.
    """

    def __init__(self, name: str):
        self._name = name
        self._lock = threading.Lock()
        self._damaged: set[int] = set()
        self._saturated: dict[tuple[object, ...], int] = {}

    @property
    def damaged_frames(self) -> list[int]:
        """Frames that were left out."""
        with self._lock:
            return sorted(self._damaged)

    @property
    def saturated_values(self) -> int:
        """Values that were larger than their type and became its largest one."""
        with self._lock:
            return sum(self._saturated.values())

    def add_damaged(self, frames: list[int]) -> None:
        """Frames were left out."""
        with self._lock:
            new = sorted(set(frames) - self._damaged)
            self._damaged.update(new)
        if new:
            numbers = ", ".join(map(str, new))
            log.warning("%s, frame %s: damaged, left out of the fraction; copy the file again", self._name, numbers)

    def add_saturated(self, fraction: tuple[object, ...], dtype: str, count: int) -> None:
        """Values of a fraction were too large for the type."""
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
        Its index, where it is known already.
    descriptor : int or None
        The file, opened already; the movie closes it.
    name : str or None
        How messages call it, if not by its path.

    Raises
    ------
    FormatError
        No readable EER file, or it cannot be rendered as wanted.
    GainError, ChangedError
        The gain reference to be applied cannot be had.
    """

    def __init__(
        self,
        path: Path,
        rendering: Rendering,
        gains: EerGains,
        index: EerIndex | None = None,
        descriptor: int | None = None,
        name: str | None = None,
        findings: Findings | None = None,
    ):
        self.name = name or str(path)
        self.path = path
        self.rendering = rendering
        self.findings = findings or Findings(self.name)
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if descriptor is None else descriptor
        try:
            self.stat = os.fstat(self.descriptor)
            self.index = index or eer.read_index(self.descriptor, self.stat.st_size, self.name)
            self.facts = facts_of(self.index)
            self.grouping = self.facts.grouping(rendering, self.name)
            self.fractions = self.facts.fractions(rendering, self.name)
            self._header = fraction_header(self.facts, rendering, self.name)
            self.gain = self._loaded_gain(gains) if rendering.apply_gain else None
        except BaseException:
            os.close(self.descriptor)
            raise
        self.findings.add_damaged(np.flatnonzero(~self.index.intact).tolist())
        self.layout = Layout.of(self._header)

    @property
    def mrc_header(self) -> MrcHeader:
        """Header of the virtual file."""
        return self._header

    @property
    def decodes_at_once(self) -> int:
        """One core renders a fraction."""
        return usable_cores()

    @property
    def kept_bytes(self) -> int:
        """Counts are kept in a narrower type than readers see."""
        _, ny, nx = self.shape
        return ny * nx * np.min_scalar_type(len(self.fractions[0])).itemsize

    def stored_frame(self, index: int) -> EventStreams:
        """Event streams of a fraction.

        Raises
        ------
        ChangedError
            The file was written to since it was opened.
        DamagedError
            None of its frames is in the file, or the storage returns an error.
        """
        frames = self._intact(index)
        if not frames:
            raise self._damaged(index, self._none_intact(index))
        try:
            streams = eer.read_streams(self.descriptor, self.index, frames, self.name)
        except OSError as error:
            self.check_unchanged()
            raise self._damaged(index, error) from error
        # an EER file has no sums that would tell frames of another file
        self.check_unchanged()
        return streams

    def _intact(self, index: int) -> list[int]:
        """Frames of a fraction that are in the file."""
        return [frame for frame in self.fractions[index] if self.index.intact[frame]]

    def kept_frame(
        self, index: int, memory: NDArray[Any] | None = None, stored: EventStreams | None = None
    ) -> NDArray[Any]:
        """Counts of a fraction, shape (ny * nx,), in an unsigned type that holds them.

        Raises
        ------
        DamagedError
            The events of none of its frames end at the last pixel; otherwise as `stored_frame`.
        """
        streams = stored or self.stored_frame(index)
        frames = self._intact(index)
        # compiled code takes a third of a second to load, which only those who render should wait for
        from cryofs.kernels import eer_events

        added = eer_events.sum_events(
            streams.words, streams.starts, streams.ends, *self.index.geometry, self.rendering.upsampling, memory
        )
        whole = {frame for frame, count in zip(frames, added.events.tolist(), strict=True) if count >= 0}
        self.findings.add_damaged([frame for frame in self.fractions[index] if frame not in whole])
        if not whole:
            raise self._damaged(index, self._none_intact(index))
        self._saturate(added.image, index)
        return added.image.reshape(-1)

    def piece(self, kept: NDArray[Any], start: int, size: int) -> NDArray[np.uint8]:
        """Bytes of a fraction as the MRC file has them."""
        item = self.dtype.itemsize
        first, end = start // item, -(-(start + size) // item)
        values = kept[first:end].astype(self.dtype)
        if self.gain is not None:
            values *= self.gain.values.reshape(-1)[first:end]
        return values.view(np.uint8)[start - first * item :][:size]

    def raw_frame(self, index: int) -> NDArray[np.uint8]:
        """Bytes of a fraction."""
        return self.piece(self.kept_frame(index), 0, self.layout.frame_bytes)

    def read_rows(self, index: int, first: int, raw: NDArray[np.uint8]) -> None:
        """Fill `raw` with rows of a fraction, which is rendered anew each time."""
        self._copy_rows(self.kept_frame(index), first, raw)

    def in_order(self, pool: Executor, ahead: int) -> Iterator[ReadRows]:
        """For each fraction, what copies some of its rows."""
        free: list[NDArray[Any]] = []
        coming: deque[Future[NDArray[Any]]] = deque()
        try:
            for index in range(self.layout.frames + ahead):
                if index >= ahead:
                    kept = coming.popleft().result()
                    yield partial(self._copy_rows, kept)
                    free.append(kept)
                if index < self.layout.frames:
                    coming.append(pool.submit(self.kept_frame, index, free.pop() if free else None))
        finally:
            for future in coming:
                future.cancel()

    def _copy_rows(self, kept: NDArray[Any], first: int, raw: NDArray[np.uint8]) -> None:
        if self.gain is not None:
            raw[:] = self.piece(kept, first * self._header.row_bytes, len(raw))
        else:
            values = raw.view(self.dtype)
            start = first * self._header.nx
            np.copyto(values, kept[start : start + len(values)], casting="unsafe")

    def read_trailing(self, size: int, offset: int) -> bytes:
        """Nothing follows the fractions."""
        return b""

    def _none_intact(self, index: int) -> str:
        frames = self.fractions[index]
        return f"none of the EER frames {frames[0]} to {frames[-1]} is intact"

    def _damaged(self, index: int, reason: object) -> DamagedError:
        """Error for a fraction that cannot be rendered."""
        damaged = DamagedError(f"{self.name}, frame {index}: damaged ({reason}); copy the file again")
        damaged.facts["frame"] = index
        return damaged

    def _saturate(self, image: NDArray[Any], index: int) -> None:
        """Cut counts that the pixel type cannot hold."""
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
