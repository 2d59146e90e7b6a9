"""EER movies, shown as MRC movies of fractions that are rendered on demand.

Thread safety: several threads may read an `EerMovie`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.errors import DamagedError, FormatError
from cryofs.formats import eer
from cryofs.formats.eer import EerIndex, EventCode, EventStreams
from cryofs.formats.mrc import Layout, MrcHeader
from cryofs.formats.record import Rendered
from cryofs.movies import eer_dose
from cryofs.movies.eer_findings import Findings
from cryofs.movies.eer_gain import EerGainMovie, EerGains
from cryofs.movies.eer_pixels import CountPixels, CroppedPixels, FractionPixels
from cryofs.movies.eer_rendering import (
    Rendering,
    fraction_header,
    frames_text,
    gain_header,
)
from cryofs.movies.frame_decoder import FrameName
from cryofs.movies.movie import EncodedFrame
from cryofs.movies.source import ReadRows, SourceMovie
from cryofs.storage.byte_source import LocalFile
from cryofs.text import as_unicode

_REMEDY = "copy the file again"


class EerMovie(SourceMovie):
    """An EER file as an MRC movie of fractions.

    Parameters
    ----------
    path : Path
        The EER file.
    index : EerIndex or None
        The index of the file; None to read it.
    source : LocalFile or None
        The open file, which the movie closes; None to open `path`.

    Raises
    ------
    FormatError
        The file is not a valid EER file, or the requested rendering does not apply to it.
    GainError, ChangedError
        The gain reference to apply is missing or changed.
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
            self.facts = eer_dose.facts_for(self.source, self.index, rendering)
            self.grouping = self.facts.grouping(rendering, self.name)
            self.fractions = self.facts.fractions(rendering, self.name)
            self._header = fraction_header(self.facts, rendering, self.name)
            self.pixels = self._pixels(gains)
        except BaseException:
            self.source.close()
            raise
        self.findings.add_damaged(np.flatnonzero(~self.index.intact).tolist())
        self.layout = Layout.of(self._header)
        # a string, because Python caches its hash
        gain = self.pixels.gain
        shown = f"{rendering}, {gain and gain.state}"
        self.identity = *self.source.identity, shown

    @property
    def mrc_header(self) -> MrcHeader:
        """Header of the virtual file."""
        return self._header

    @property
    def rendered(self) -> Rendered:
        """Facts about the EER file for the record of an archived movie, including its damaged frames."""
        gain = self.pixels.gain
        return Rendered(
            name=as_unicode(self.path.name),
            bytes=self.stat.st_size,
            mtime_ns=self.stat.st_mtime_ns,
            frames=self.index.frames,
            grouping=self.grouping,
            upsampling=self.rendering.upsampling,
            spread=self.rendering.leftover == "spread",
            damaged_frames=self.findings.damaged_frames,
            crop=self.rendering.crop,
            scale=self.scale if self.scale != 1 else None,
            gain=gain.checksum if gain else None,
        )

    @property
    def source_summary(self) -> str:
        """Line of text with the number of raw frames, fractions and dropped frames."""
        return f"{self.name}: {frames_text(self.index.frames, self.fractions)}"

    def gain_reference(self, gains: EerGains) -> EerGainMovie | None:
        """Open the gain reference on the grid of the fractions; return None if no reference was given."""
        rendering = self.rendering
        if rendering.gain is None or self.pixels.gain is not None:
            return None
        return EerGainMovie(rendering.gain, gain_header(self.facts, rendering), gains, rendering.gain_convention)

    @property
    def frame_unit(self) -> str:
        """Plural noun for the frames of the MRC file, with the grouping."""
        return f"fractions of {self.grouping} frames"

    @property
    def scale(self) -> float:
        """Factor from electrons to pixel values."""
        return self.facts.scale(self.rendering, self.name)

    @property
    def decodes_at_once(self) -> int:
        """Number of fractions to render at the same time for a sequential reader."""
        return self.pixels.at_once

    def decoded_bytes(self, rows: range | None = None) -> int:
        """Return the size of a decoded fraction in memory, in bytes."""
        return self.pixels.decoded_bytes(max(map(len, self.fractions)))

    def read_frame(self, index: int, rows: range | None = None) -> "EncodedFraction":
        """Read the event streams of a fraction; an EER file has no checksums to verify.

        Raises
        ------
        ChangedError
            The file was written to after it was opened.
        DamagedError
            No frame of the fraction is in the file, or the storage returns an error.
        """
        if rows is not None:
            raise ValueError(f"{self.name}: row blocks of fractions are not supported; read whole fractions")
        frames = [frame for frame in self.fractions[index] if self.index.intact[frame]]
        if not frames:
            raise self.none_intact(index)
        # a late import, because compiled code takes a third of a second to load
        from cryofs.movies import eer_overflow

        try:
            code = self.findings.code or eer_overflow.find_code(self.source, self.index)
            streams = eer.read_streams(self.source, self.index, frames)
        except OSError as error:
            self.check_unchanged()
            raise FrameName(self.name, index, _REMEDY).damaged(error) from error
        self.check_unchanged()
        self.findings.code = code
        return EncodedFraction(self, index, frames, streams, code)

    def mrc_bytes(
        self, decoded: NDArray[Any], start: int, size: int, memory: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Return `size` bytes of the MRC file (uint8, shape (n,)) from a decoded fraction."""
        return self.pixels.mrc_bytes(decoded, start, size)

    def read_rows(self, index: int, first: int, raw: NDArray[np.uint8]) -> None:
        """Fill `raw` (uint8, shape (n,)) with rows of a fraction; each call renders the fraction again."""
        self.pixels.copy_rows(self._render(index), first, raw)

    def row_reader(self, index: int, memory: NDArray[Any] | None = None) -> ReadRows:
        """Render a fraction; return a function that copies its rows into an array (uint8, shape (n,))."""
        return partial(self.pixels.copy_rows, self._render(index, memory))

    def _render(self, index: int, memory: NDArray[Any] | None = None) -> NDArray[Any]:
        return self.read_frame(index).decode(memory)

    def read_trailing(self, size: int, offset: int) -> bytes:
        """Return no bytes, because the virtual file ends with its fractions."""
        return b""

    def follow_content(self, on_change: Callable[[], None]) -> None:
        """Continue to read the file if only its ctime moves and its directories stay the same."""
        if isinstance(self.source, LocalFile):
            self.source.follow_content(eer.content_digest(self.index), _content_digest, on_change)

    def none_intact(self, index: int) -> DamagedError:
        """Return the error for a fraction without an intact frame."""
        frames = self.fractions[index]
        reason = FormatError(f"none of the EER frames {frames[0]} to {frames[-1]} is intact")
        return FrameName(self.name, index, _REMEDY).damaged(reason)

    def _pixels(self, gains: EerGains) -> FractionPixels:
        rendering, header = self.rendering, self._header
        shape = self.index.ny * rendering.upsampling, self.index.nx * rendering.upsampling
        if rendering.apply_gain and rendering.gain is None:
            raise FormatError(f"{self.name}: no gain reference to apply; pass one with --eer-gain")
        gain = None
        if rendering.gain is not None and rendering.multiplies_gain:
            gain = gains.get(rendering.gain, shape, rendering.gain_convention)
        if rendering.crop is None:
            return CountPixels(header, rendering, gain, self.findings)
        defects = gain.defects(rendering.upsampling) if gain else None
        return CroppedPixels(header, rendering, gain, self.findings, shape, self.scale, defects)


def _content_digest(source: LocalFile) -> str:
    return eer.content_digest(eer.read_index(source))


@dataclass(frozen=True)
class EncodedFraction(EncodedFrame):
    """Event streams of the frames of a fraction that are in the file."""

    movie: EerMovie
    index: int
    frames: list[int]
    streams: EventStreams
    code: EventCode

    def decode(self, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the fraction (flat, in the type of `FractionPixels`); skip damaged frames.

        Raises
        ------
        DamagedError
            No frame is intact: none ends at the last pixel.
        """
        # a late import, as in `EerMovie.read_frame`
        from cryofs.movies import eer_overflow

        movie = self.movie
        added = eer_overflow.sum_frames(self.streams, movie.index, self.code, movie.rendering.upsampling, out)
        whole = {frame for frame, count in zip(self.frames, added.events.tolist(), strict=True) if count >= 0}
        movie.findings.add_damaged([frame for frame in movie.fractions[self.index] if frame not in whole])
        if not whole:
            raise movie.none_intact(self.index)
        return movie.pixels.of_counts(added.image, len(movie.fractions[self.index]), self.index, out)
