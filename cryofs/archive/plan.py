"""How a movie is stored: as counts or plain, in which type, by which codec. Measured on samples, never guessed."""

from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from cryofs.archive.references import Reference
from cryofs.archive.samples import Sample
from cryofs.detector import counts
from cryofs.detector.counts import Counts
from cryofs.formats import codecs, exceptions
from cryofs.formats.codecs import Codec
from cryofs.formats.tiff import CLASSIC_LIMIT, WORK_ROWS, PageLayout
from cryofs.movies.source import SourceMovie

CompressionChoice = Literal["auto", "lzw", "deflate", "none"]

# A faster codec may be this much larger than the smallest and still be taken.
_SPEED_ALLOWANCE = 1.01
# Level of deflate where strings are looked for; on gain-normalised values level 6 takes four times as long for 3 %
# less.
_LEVEL = 3
# Counts are kept unless plain values are smaller by more than this: readers of the TIFF are better served by counts.
_PLAIN_ALLOWANCE = 0.95
# Room between the size expected from the samples and the end of classic TIFF.
_CLASSIC_ROOM = 0.9


@dataclass(frozen=True)
class Coding:
    """What the user chose: codec, deflate level (None: the strategies made for counts), one row a strip or 256."""

    compression: CompressionChoice = "auto"
    deflate_level: int | None = None
    line_by_line: bool = False


@dataclass(frozen=True)
class Plan:
    """How a movie is stored.

    Attributes
    ----------
    layout : PageLayout
        The TIFF pages.
    reference : Reference or None
        Gain reference that the values are divided by.
    big : bool
        BigTIFF.
    plain : Plan or None
        What to fall back to, where the counts turn out to cost more.
    frame_bytes : float
        Expected size of a stored frame.
    """

    layout: PageLayout
    reference: Reference | None
    big: bool
    plain: "Plan | None"
    frame_bytes: float

    def for_range(self, lowest: int, highest: int) -> "Plan":
        """The same plan with the narrowest pixel type for counts of this range."""
        dtype = counts.narrowest_dtype(lowest, highest)
        return replace(self, layout=replace(self.layout, dtype=dtype))

    def as_big(self) -> "Plan":
        """The same plan as BigTIFF."""
        return replace(self, big=True)


def make_plan(
    movie: SourceMovie, samples: list[Sample], reference: Reference | None, coding: Coding, pool: Executor
) -> Plan:
    """Choose the smallest way to store a movie, by encoding its samples in each way."""
    values = [sample.values for sample in samples]
    total = movie.layout.frames * movie.shape[1] * movie.shape[2]
    sampled = sum(part.size for part in values)
    float_type = movie.dtype.kind == "f"

    def plan(forms: list[Counts], reference: Reference | None, plain: Plan | None) -> Plan:
        codec, size = _smallest_codec([form.stored for form in forms], coding, pool)
        size += sum(len(exceptions.pack(form.positions, form.originals)) for form in forms)
        rows = 1 if coding.line_by_line else min(WORK_ROWS, movie.shape[1])
        layout = PageLayout(
            movie.shape[1], movie.shape[2], forms[0].stored.dtype, codec, rows, movie.mrc_header.pixel_size
        )
        expected = size / sampled * total
        return Plan(layout, reference, expected > _CLASSIC_ROOM * CLASSIC_LIMIT, plain, expected / movie.layout.frames)

    plain = None
    if float_type:
        plain = plan([counts.narrow(part, np.dtype("f4")) for part in values], None, None)
    as_counts = plan(_as_counts(samples, reference), reference, plain)
    if plain is not None and plain.frame_bytes < _PLAIN_ALLOWANCE * as_counts.frame_bytes:
        return plain
    return as_counts


def _as_counts(samples: list[Sample], reference: Reference | None) -> list[Counts]:
    """Samples as counts of the narrowest type that holds all of them."""

    def convert(dtype: np.dtype[Any]) -> list[Counts]:
        if reference is None:
            return [counts.narrow(sample.values, dtype) for sample in samples]
        return [counts.divide(sample.values, reference.gain[sample.rows], dtype) for sample in samples]

    forms = convert(np.dtype("u1"))
    dtype = counts.narrowest_dtype(min(form.lowest for form in forms), max(form.highest for form in forms))
    return forms if dtype == forms[0].stored.dtype else convert(dtype)


def _smallest_codec(strips: list[Any], coding: Coding, pool: Executor) -> tuple[Codec, int]:
    """The fastest codec within the allowance of the smallest, and the size of the strips by it."""
    candidates = _candidates(strips[0].dtype, coding)
    encoded = [[pool.submit(codecs.encode, codec, strip) for strip in strips] for codec in candidates]
    sizes = [sum(len(strip.result()) for strip in futures) for futures in encoded]
    limit = _SPEED_ALLOWANCE * min(sizes)
    return next((codec, size) for codec, size in zip(candidates, sizes, strict=True) if size <= limit)


def _candidates(dtype: np.dtype[Any], coding: Coding) -> list[Codec]:
    """Codecs to try, the faster to decode first."""
    if coding.compression == "none":
        return [Codec("none")]
    if coding.compression == "lzw":
        return [Codec("lzw")]
    if coding.deflate_level is not None:
        return [Codec("deflate", level=coding.deflate_level)]
    deflate = [Codec("deflate", strategy="huffman"), Codec("deflate", strategy="rle")]
    if dtype.itemsize > 1:
        deflate.append(Codec("deflate", level=_LEVEL))
    if dtype.kind == "f":
        deflate.append(Codec("deflate", predictor="float", level=_LEVEL))
    return deflate if coding.compression == "deflate" else [*deflate, Codec("lzw")]
