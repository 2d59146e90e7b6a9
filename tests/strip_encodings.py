"""Every way to encode strips for a TIFF, those of the detector room included; any reader decodes them all."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from cryofs.codecs import deflate, huffman_encoder, lzw, lzw_codec, uncompressed
from cryofs.codecs.codec import Codec
from cryofs.codecs.deflate import Deflate, Strategy
from cryofs.codecs.lzw_codec import Lzw
from cryofs.codecs.uncompressed import Uncompressed

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


NOTHING = Encoding("none", Uncompressed(), uncompressed.encode)
LZW = Encoding("lzw", Lzw(), lzw_codec.encode_any)
DEFLATE = Encoding("deflate", Deflate(), deflate.encode_deflate)


def encode_libdeflate(strip: NDArray[Any], level: int) -> bytes:
    """Encode a strip by libdeflate, as other programs do."""
    return bytes(imagecodecs.deflate_encode(strip.tobytes(), level=level))


HUFFMAN = Encoding("huffman", Deflate(), partial(deflate.encode_deflate, strategy="huffman"))
RLE = Encoding("rle", Deflate(), partial(deflate.encode_deflate, strategy="rle"))
ONE_CODE = Encoding("one code", Deflate(), encode_one_code)
SPARSE_LZW = Encoding("sparse lzw", Lzw(), encode_sparse_lzw)

ENCODINGS = (
    NOTHING,
    LZW,
    SPARSE_LZW,
    ONE_CODE,
    *(Encoding(f"libdeflate {level}", Deflate(), partial(encode_libdeflate, level=level)) for level in (1, 3, 6, 12)),
    *(
        Encoding(
            f"{strategy} {level}",
            Deflate(),
            partial(deflate.encode_deflate, strategy=strategy, level=level),
        )
        for strategy in STRATEGIES
        for level in range(10)
    ),
)
FLOAT_ENCODINGS = (
    Encoding("none, predicted", Uncompressed("float"), _predicted(uncompressed.encode)),
    Encoding("lzw, predicted", Lzw("float"), _predicted(lzw_codec.encode_any)),
    *(
        Encoding(
            f"deflate {level}, predicted",
            Deflate("float"),
            partial(deflate.encode_float_deflate, level=level),
        )
        for level in (0, 1, 3, 6, 9)
    ),
)


def encodings_of(dtype: np.dtype[Any]) -> tuple[Encoding, ...]:
    """Those that serve a type."""
    return ENCODINGS + FLOAT_ENCODINGS if dtype.kind == "f" else ENCODINGS
