"""Every way to encode strips for a TIFF, those of the detector room included; any reader decodes them all."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from cryofs.codecs import deflate, huffman_encoder, lzw
from cryofs.codecs.codec import Codec
from cryofs.codecs.deflate import Strategy

STRATEGIES: tuple[Strategy, ...] = ("default", "huffman", "rle")


@dataclass(frozen=True)
class Encoding:
    """An encoder, and what a reader must know of its streams."""

    name: str
    codec: Codec
    encode: Callable[[NDArray[Any]], bytes]

    def __str__(self) -> str:
        return self.name


def encode_one_code(strip: NDArray[Any]) -> bytes:
    """Deflate with one Huffman code a strip."""
    return deflate.zlib_stream(huffman_encoder.encode(strip.reshape(-1).view(np.uint8)), strip)


def encode_sparse_lzw(strip: NDArray[Any]) -> bytes:
    """LZW for small counts."""
    return lzw.encode(strip.reshape(-1).view(np.uint8))


def _predicted(encode: Callable[[NDArray[Any]], bytes]) -> Callable[[NDArray[Any]], bytes]:
    return lambda strip: encode(imagecodecs.floatpred_encode(strip, axis=-1))


NOTHING = Encoding("none", Codec("none"), deflate.encode_nothing)
LZW = Encoding("lzw", Codec("lzw"), deflate.encode_lzw)
DEFLATE = Encoding("deflate", Codec("deflate"), deflate.encode_deflate)
HUFFMAN = Encoding("huffman", Codec("deflate"), partial(deflate.encode_deflate, strategy="huffman"))
RLE = Encoding("rle", Codec("deflate"), partial(deflate.encode_deflate, strategy="rle"))
ONE_CODE = Encoding("one code", Codec("deflate"), encode_one_code)
SPARSE_LZW = Encoding("sparse lzw", Codec("lzw"), encode_sparse_lzw)

ENCODINGS = (
    NOTHING,
    LZW,
    SPARSE_LZW,
    ONE_CODE,
    *(
        Encoding(f"libdeflate {level}", Codec("deflate"), partial(deflate.encode_libdeflate, level=level))
        for level in (1, 3, 6, 12)
    ),
    *(
        Encoding(
            f"{strategy} {level}", Codec("deflate"), partial(deflate.encode_deflate, strategy=strategy, level=level)
        )
        for strategy in STRATEGIES
        for level in range(10)
    ),
)
FLOAT_ENCODINGS = (
    Encoding("none, predicted", Codec("none", "float"), _predicted(deflate.encode_nothing)),
    Encoding("lzw, predicted", Codec("lzw", "float"), _predicted(deflate.encode_lzw)),
    *(
        Encoding(
            f"deflate {level}, predicted", Codec("deflate", "float"), partial(deflate.encode_float_deflate, level=level)
        )
        for level in (0, 1, 3, 6, 9)
    ),
)


def encodings_of(dtype: np.dtype[Any]) -> tuple[Encoding, ...]:
    """Those that serve a type."""
    return ENCODINGS + FLOAT_ENCODINGS if dtype.kind == "f" else ENCODINGS
