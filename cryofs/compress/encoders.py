"""The ways to encode strips that are tried on a movie's samples: one table, the faster first.

Every one makes streams that any TIFF reader decodes. What is new here is one more line.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cryofs.codecs import deflate, huffman_encoder, lzw
from cryofs.codecs.codec import Codec
from cryofs.config.choices import CompressionChoice
from cryofs.formats.tiff_pages import WORK_ROWS

# LZW begins each strip with an empty dictionary, which costs 0.03 % with a quarter of these rows.
_LZW_ROWS = 4096
# The encoder for small counts loses by larger ones, so these may be so few.
_LARGE_SHARE = 1e-3


@dataclass(frozen=True)
class Candidate:
    """A way to encode strips.

    Attributes
    ----------
    codec : Codec
        What a reader must know.
    encode : callable
        Array of shape (rows, nx) -> bytes.
    serves : str
        Pixels that it is tried on: of one byte, wider integers, floats; or any.
    rows : int
        Rows a strip.
    """

    name: str
    codec: Codec
    encode: Callable[[NDArray[Any]], bytes]
    serves: Literal["bytes", "wide", "float", "any"]
    rows: int = WORK_ROWS


def _huffman(strip: NDArray[Any]) -> bytes:
    return deflate.zlib_stream(huffman_encoder.encode(strip.reshape(-1).view(np.uint8)), strip)


def _lzw(strip: NDArray[Any]) -> bytes:
    data = strip.reshape(-1).view(np.uint8)
    if np.count_nonzero(data >= lzw.SMALL) <= _LARGE_SHARE * data.size:
        return lzw.encode(data)
    return deflate.encode_lzw(strip)


_DEFLATE, _LZW = Codec("deflate"), Codec("lzw")
_FLOAT_DEFLATE = Codec("deflate", "float")

CANDIDATES = (
    Candidate("huffman", _DEFLATE, _huffman, "bytes"),
    Candidate("huffman", _DEFLATE, partial(deflate.encode_deflate, strategy="huffman"), "wide"),
    Candidate("huffman", _DEFLATE, partial(deflate.encode_deflate, strategy="huffman"), "float"),
    Candidate("rle", _DEFLATE, partial(deflate.encode_deflate, strategy="rle"), "any"),
    Candidate("lzw", _LZW, _lzw, "any", _LZW_ROWS),
    Candidate("deflate-1", _DEFLATE, partial(deflate.encode_libdeflate, level=1), "any"),
    Candidate("deflate-3", _DEFLATE, partial(deflate.encode_deflate, level=3), "any"),
    Candidate("float-deflate-3", _FLOAT_DEFLATE, partial(deflate.encode_float_deflate, level=3), "float"),
    Candidate("deflate-6", _DEFLATE, partial(deflate.encode_deflate, level=6), "bytes"),
    Candidate("deflate-6", _DEFLATE, partial(deflate.encode_deflate, level=6), "wide"),
)
_NONE = Candidate("none", Codec("none"), deflate.encode_nothing, "any")


def candidates(dtype: np.dtype[Any], choice: CompressionChoice, deflate_level: int | None) -> list[Candidate]:
    """Candidates for pixels of a type, the faster first; those that a user's choice leaves."""
    if choice == "none":
        return [_NONE]
    if deflate_level is not None:
        encode = partial(deflate.encode_deflate, level=deflate_level)
        return [Candidate(f"deflate-{deflate_level}", _DEFLATE, encode, "any")]
    kind = "float" if dtype.kind == "f" else "bytes" if dtype.itemsize == 1 else "wide"
    return [
        candidate
        for candidate in CANDIDATES
        if candidate.serves in (kind, "any") and choice in ("auto", candidate.codec.compression)
    ]
