"""Plan how to store a movie: encode samples, then choose counts or plain values, the pixel type and the codec."""

from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.codecs.codec import Encoder
from cryofs.compress.encoders import candidates
from cryofs.config.choices import CompressionChoice, NarrowChoice
from cryofs.formats import exception_block
from cryofs.formats.blob import deflated_size
from cryofs.formats.tiff_pages import CLASSIC_LIMIT, PageLayout
from cryofs.gain.references import Reference
from cryofs.gain.samples import Sample
from cryofs.kernels import to_counts
from cryofs.kernels.from_counts import ExceptionValues
from cryofs.kernels.to_counts import Counts
from cryofs.movies.source import SourceMovie

# Of the encoders whose result is within this factor of the smallest, the fastest is chosen.
_SPEED_ALLOWANCE = 1.01
# Plain values are chosen only if they take less than this share of counts, which are more useful in TIFF readers.
_PLAIN_ALLOWANCE = 0.95
# A movie is not stored as counts if more than this share of its values are exceptions.
_MOSTLY = 0.5
# Number of rows of a sample from which the size of plain values is estimated, because encoding them is slow.
_PLAIN_ROWS = 16
# Largest share of the strips that exceptions of a narrow pixel type may take. The next wider type takes at least a
# fifth more, because an empty byte costs one or two bits for each pixel.
_NARROWING_COST = 0.05
# Share of the limit of classic TIFF up to which the size expected from the samples is considered safe.
_CLASSIC_ROOM = 0.9


@dataclass(frozen=True)
class Coding:
    """Options for encoding a movie.

    Attributes
    ----------
    deflate_level : int or None
        Level of zlib's deflate; None to choose the encoder with the smallest result.
    line_by_line : bool
        Whether a strip has one row.
    narrow : str
        Pixel type: ``"auto"`` to store rare large values as exceptions if that saves space, ``"exact"`` for the
        narrowest type that holds all values, ``"never"`` for the width of the original.
    """

    compression: CompressionChoice = "auto"
    deflate_level: int | None = None
    line_by_line: bool = False
    narrow: NarrowChoice = "auto"


@dataclass(frozen=True)
class Plan:
    """The way to store a movie.

    Attributes
    ----------
    layout : PageLayout
        Layout of the TIFF pages.
    reference : Reference or None
        Gain reference to divide values by; None to store the values themselves.
    big : bool
        Whether to write BigTIFF.
    plain : Plan or None
        Alternative plan in case counts are larger than plain values; None if there is no alternative.
    frame_bytes : float
        Expected size of a stored frame in bytes.
    """

    layout: PageLayout
    encoder: Encoder
    coding: Coding
    reference: Reference | None
    big: bool
    plain: "Plan | None"
    frame_bytes: float

    def dtype_for(self, lowest: int, highest: int) -> np.dtype[Any]:
        """Return the narrowest pixel type that the options allow for a range of counts."""
        dtype = to_counts.narrowest_dtype(lowest, highest)
        if self.coding.narrow == "never" and dtype.itemsize < self.layout.dtype.itemsize:
            return np.dtype(f"{dtype.kind}{self.layout.dtype.itemsize}")
        return dtype

    def with_dtype(self, dtype: np.dtype[Any], samples: list[Sample], pool: Executor) -> "Plan":
        """Return a copy of this plan with another pixel type and the best encoder for it."""
        forms = _convert(samples, self.reference, dtype)
        encoder = _smallest([form.stored for form in forms], self.coding, pool)[0]
        rows = _strip_rows(encoder, self.coding, self.layout.ny)
        layout = replace(self.layout, dtype=dtype, codec=encoder.codec, rows_per_strip=rows)
        return replace(self, layout=layout, encoder=encoder)

    def holds(self, lowest: int, highest: int) -> bool:
        """Return True if the pixel type can represent all counts in a range."""
        dtype = self.layout.dtype
        return dtype.kind == "f" or (np.iinfo(dtype).min <= lowest and highest <= np.iinfo(dtype).max)

    def as_big(self) -> "Plan":
        """Return a copy of this plan that writes BigTIFF."""
        return replace(self, big=True)

    def affords(self, narrowing_bytes: int, strip_bytes: int) -> bool:
        """Return True if the exceptions are small enough, relative to the strips, to keep the pixel type."""
        return self.coding.narrow == "auto" and narrowing_bytes <= _NARROWING_COST * strip_bytes


def make_plan(
    movie: SourceMovie, samples: list[Sample], reference: Reference | None, coding: Coding, pool: Executor
) -> Plan:
    """Return the plan that stores the samples of a movie in the fewest bytes, preferring counts to plain values."""
    frame_pixels = movie.shape[1] * movie.shape[2]

    def plan(forms: list[Counts], reference: Reference | None, plain: Plan | None) -> Plan:
        encoder, size = _smallest([form.stored for form in forms], coding, pool)
        sampled = sum(form.stored.size for form in forms)
        frame_bytes = (size + exception_bytes(form.exceptions for form in forms)) / sampled * frame_pixels
        _, ny, nx = movie.shape
        rows = _strip_rows(encoder, coding, ny)
        layout = PageLayout(ny, nx, forms[0].stored.dtype, encoder.codec, rows, movie.mrc_header.pixel_size)
        big = frame_bytes * movie.layout.frames > _CLASSIC_ROOM * CLASSIC_LIMIT
        return Plan(layout, encoder, coding, reference, big, plain, frame_bytes)

    plain = None
    if movie.dtype.kind == "f":
        few = [sample.values[:_PLAIN_ROWS] for sample in samples]
        plain = plan([to_counts.narrow(values, np.dtype("f4")) for values in few], None, None)
    elif reference is not None:
        fewer = [replace(sample, values=sample.values[:_PLAIN_ROWS]) for sample in samples]
        plain = plan(_as_counts(fewer, movie.dtype, None, coding, pool), None, None)
    forms = _as_counts(samples, movie.dtype, reference, coding, pool)
    as_counts = plan(forms, reference, plain)
    if plain is None:
        return as_counts
    exceptional = sum(form.exceptions.count for form in forms) > _MOSTLY * sum(form.stored.size for form in forms)
    smaller = plain.frame_bytes < _PLAIN_ALLOWANCE * as_counts.frame_bytes
    return plain if exceptional or smaller else as_counts


def exception_bytes(found: Iterable[ExceptionValues]) -> int:
    """Return the stored size of exceptions in bytes."""
    return sum(
        deflated_size(exception_block.pack(part.positions, part.originals, part.near, part.steps))
        for part in found
        if part.count
    )


def _narrowing_bytes(forms: list[Counts]) -> int:
    """Return the stored size in bytes of the exceptions that a wider pixel type would avoid."""
    beyond, count = sum(form.beyond for form in forms), sum(form.exceptions.count for form in forms)
    return exception_bytes(form.exceptions for form in forms) * beyond // max(count, 1)


def _as_counts(
    samples: list[Sample], original: np.dtype[Any], reference: Reference | None, coding: Coding, pool: Executor
) -> list[Counts]:
    """Return the samples as counts, in the allowed pixel type that needs the least space."""
    forms = _convert(samples, reference, np.dtype("u1"))
    lowest, highest = min(form.lowest for form in forms), max(form.highest for form in forms)
    exact = to_counts.narrowest_dtype(lowest, highest)
    if coding.narrow == "never" and original.kind in "ui" and exact.itemsize < original.itemsize:
        return _convert(samples, reference, np.dtype(f"{exact.kind}{original.itemsize}"))
    if exact == forms[0].stored.dtype:
        return forms
    if coding.narrow == "auto" and exact.itemsize > 1:
        for narrow in (forms, _convert(samples, reference, np.dtype("i1"))) if lowest < 0 else (forms,):
            strips = _smallest([form.stored for form in narrow], coding, pool)[1]
            if _narrowing_bytes(narrow) <= _NARROWING_COST * strips:
                return narrow
    return _convert(samples, reference, exact)


def _convert(samples: list[Sample], reference: Reference | None, dtype: np.dtype[Any]) -> list[Counts]:
    if reference is None:
        return [to_counts.narrow(sample.values, dtype) for sample in samples]
    return [to_counts.divide(sample.values, reference.gain, sample.rows, dtype) for sample in samples]


def _strip_rows(encoder: Encoder, coding: Coding, ny: int) -> int:
    return 1 if coding.line_by_line else min(encoder.rows, ny)


def _smallest(parts: list[NDArray[Any]], coding: Coding, pool: Executor) -> tuple[Encoder, int]:
    """Return the fastest encoder with nearly the smallest result, and the size of its result in bytes."""
    tried = candidates(parts[0].dtype, coding.compression, coding.deflate_level)
    strips = [strip for part in parts for strip in (part[:, np.newaxis] if coding.line_by_line else [part])]
    encoded = [pool.submit(_encoded_size, encoder, strips) for encoder in tried]
    sizes = [future.result() for future in encoded]
    limit = _SPEED_ALLOWANCE * min(sizes)
    return next((encoder, size) for encoder, size in zip(tried, sizes, strict=True) if size <= limit)


def _encoded_size(encoder: Encoder, strips: list[NDArray[Any]]) -> int:
    return sum(len(encoder.encode(strip)) for strip in strips)
