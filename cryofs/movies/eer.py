"""EER movies, shown as MRC movies of fractions that are rendered when they are read.

Threads: an `EerMovie` may be read by several threads.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.errors import DamagedError, FormatError
from cryofs.formats import eer
from cryofs.formats.archive_names import EER_SUFFIXES, eer_names, fractions_name
from cryofs.formats.eer import EerIndex, EventStreams
from cryofs.formats.mrc import Layout, MrcHeader
from cryofs.formats.record import Rendered
from cryofs.movies.eer_findings import Findings
from cryofs.movies.eer_gain import EerGain, EerGainMovie, EerGains
from cryofs.movies.eer_rendering import EerFacts, Rendering, facts_of, fingerprint, fraction_header, gain_header
from cryofs.movies.frame_decoder import FrameName
from cryofs.movies.movie import EncodedFrame
from cryofs.movies.provider import Appearance, InfoOptions, OpenContext, Provider, ShowOptions, Summary
from cryofs.movies.source import ReadRows, SourceMovie
from cryofs.storage.byte_source import LocalFile
from cryofs.system.resources import usable_cores
from cryofs.text import as_unicode

_REMEDY = "copy the file again"


class EerMovie(SourceMovie):
    """An EER file as an MRC movie of fractions.

    Parameters
    ----------
    path : Path
        The EER file.
    index : EerIndex or None
        The index, if it was read already.
    source : LocalFile or None
        The file, if it is open already; the movie closes it.

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
    def rendered(self) -> Rendered:
        """Facts about the EER file for the record, including its damaged frames."""
        return Rendered(
            name=as_unicode(self.path.name),
            bytes=self.stat.st_size,
            mtime_ns=self.stat.st_mtime_ns,
            frames=self.index.frames,
            grouping=self.grouping,
            upsampling=self.rendering.upsampling,
            damaged_frames=self.findings.damaged_frames,
        )

    def gain_reference(self, gains: EerGains) -> EerGainMovie | None:
        """Open the gain reference of the rendering on the grid of the fractions, or return None."""
        rendering = self.rendering
        if rendering.gain is None:
            return None
        return EerGainMovie(rendering.gain, gain_header(self.facts, rendering), gains)

    @property
    def frame_unit(self) -> str:
        """Noun for the frames of the MRC file, in the plural, with the grouping."""
        return f"fractions of {self.grouping} frames"

    @property
    def decodes_at_once(self) -> int:
        """Number of fractions to render at the same time: as many as cores, because each is rendered on one core."""
        return usable_cores()

    def decoded_bytes(self, rows: range | None = None) -> int:
        """Return the size in bytes of a fraction in memory, in the smallest type that holds its counts."""
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
            raise ValueError(f"{self.name}: row blocks of fractions cannot be read")
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

    def mrc_bytes(
        self, decoded: NDArray[Any], start: int, size: int, memory: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Return bytes of the MRC file from the counts of a fraction."""
        item = self.dtype.itemsize
        first, end = start // item, -(-(start + size) // item)
        values = decoded[first:end].astype(self.dtype)
        if self.gain is not None:
            values *= self.gain.values.reshape(-1)[first:end]
        return values.view(np.uint8)[start - first * item :][:size]

    def read_rows(self, index: int, first: int, raw: NDArray[np.uint8]) -> None:
        """Fill `raw` with rows of a fraction; each call renders the fraction again."""
        self._copy_rows(self._render(index), first, raw)

    def in_order(self, pool: Executor, ahead: int) -> Iterator[ReadRows]:
        """Iterate over functions that copy rows of a fraction, one function for each fraction."""
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
        """Return the error for a fraction without intact frames."""
        frames = self.fractions[index]
        reason = FormatError(f"none of the EER frames {frames[0]} to {frames[-1]} is intact")
        return FrameName(self.name, index, _REMEDY).damaged(reason)

    def saturate(self, image: NDArray[Any], index: int) -> None:
        """Clip the counts of a fraction to the limits of the pixel type."""
        if self.dtype.kind == "f" or len(self.fractions[index]) <= (largest := np.iinfo(self.dtype).max):
            return
        over = image > largest
        if count := int(np.count_nonzero(over)):
            image[over] = largest
            self.findings.add_saturated((self.rendering, index), self.dtype.name, count)

    def _loaded_gain(self, gains: EerGains) -> EerGain:
        if self.rendering.gain is None:
            raise FormatError(f"{self.name}: no gain reference to apply; pass one with --eer-gain")
        return gains.get(self.rendering.gain, (self._header.ny, self._header.nx))


@dataclass(frozen=True)
class EncodedFraction(EncodedFrame):
    """The event streams of the frames of a fraction that are in the file."""

    movie: EerMovie
    index: int
    frames: list[int]
    streams: EventStreams

    def decode(self, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the counts of the fraction in an unsigned type that holds them; damaged frames are skipped.

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


class EerProvider(Provider[EerFacts, EerIndex]):
    """An EER file, shown as an MRC movie of fractions beside the stored file."""

    key = "FRACTIONS"
    suffixes = EER_SUFFIXES
    metadata_type = EerFacts
    lists_damaged = False
    is_rendered = True
    checks_take_time = True
    has_details = True

    def shown_name(self, stored: str) -> str | None:
        """Return the name of the movie of fractions."""
        return fractions_name(stored)

    def stored_names(self, shown: str) -> list[str]:
        """Return the names that the EER file may have."""
        return eer_names(shown)

    def read_index(self, source: LocalFile) -> EerIndex:
        """Read the directories of all frames."""
        return eer.read_index(source)

    def probe(self, source: LocalFile, read_index: Callable[[LocalFile], EerIndex]) -> EerFacts:
        """Read the directories of all frames."""
        return facts_of(read_index(source))

    def appearance(self, metadata: EerFacts, options: ShowOptions) -> Appearance:
        """Return the size of the movie of fractions, or None if the settings do not apply to this file."""
        try:
            return Appearance(fraction_header(metadata, options.rendering, "").data_end)
        except FormatError:
            return Appearance(None)

    def open(self, path: Path, source: LocalFile, context: OpenContext) -> EerMovie:
        """Open the movie of fractions."""
        index = context.index(self, source)
        findings = context.findings(source)
        return EerMovie(path, context.options.rendering, context.eer_gains, index, source, findings)

    def bytes_key(self, options: ShowOptions) -> str:
        """Return the key of the rendering."""
        return fingerprint(options.rendering)

    def details(self, metadata: EerFacts, options: ShowOptions, name: str, findings: Findings) -> dict[str, Any]:
        """Return the rendering of the movie, its damaged frames and the number of saturated values."""
        rendering = options.rendering
        return {
            "source_frames": metadata.frames,
            "fractions": fraction_header(metadata, rendering, name).nz,
            "grouping": metadata.grouping(rendering, name),
            "upsampling": rendering.upsampling,
            "damaged_frames": findings.damaged_frames,
            "saturated_values": findings.saturated_values,
        }

    def describe(self, movie: EerMovie, path: Path, options: InfoOptions) -> dict[str, Any]:
        """Return the output of `cryofs info`: facts about the camera frames, including the number of events."""
        # compiled code, which only this needs
        from cryofs.movies.eer_info import describe_eer

        return describe_eer(path, options.jobs, options.pixel_size, options.dose)

    def damage(self, path: Path, *, every_frame: bool = False) -> FormatError | None:
        """Return the reason why the frames of a file cannot be found, or None; fractions skip damaged frames."""
        with LocalFile.open(path) as source:
            try:
                index = self.read_index(source)
            except FormatError as error:
                return error
        bad = index.frames - int(index.intact.sum())
        text = f"{path}: {bad} of {index.frames} frames are damaged or missing; copy the file again"
        return FormatError(text) if bad and every_frame else None

    def load_compiled(self) -> None:
        """Load the kernels that decode events."""
        from cryofs.kernels import eer_events

        eer_events.load()

    def summarize(self, path: Path) -> Summary | None:
        """Return the report summary from the directories of the file."""
        with LocalFile.open(path) as source:
            index, found = self.read_index(source), source.stat
        shape = index.frames, index.ny, index.nx
        return Summary("EER, {size}", shape, found.st_mtime, found.st_size, found.st_size)


EER = EerProvider()
