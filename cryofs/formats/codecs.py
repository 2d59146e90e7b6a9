"""Codecs of TIFF strips: what TIFF calls compression and predictor, and the encoder settings behind them.

Every stream is one that any TIFF reader decodes: LZW as TIFF 6.0 has it, and zlib streams ("Adobe deflate"). On
electron counts the Huffman-only and run-length strategies of deflate are smaller and faster than its usual string
matching, because counts have no repeated strings beyond chance.
"""

from dataclasses import dataclass
from typing import Any, Literal

import imagecodecs
import numpy as np
from isal import igzip_lib, isal_zlib
from numpy.typing import NDArray
from zlib_ng import zlib_ng

from cryofs.errors import DamagedError

Compression = Literal["none", "lzw", "deflate"]
Predictor = Literal["none", "float"]
Strategy = Literal["default", "huffman", "rle"]

_STRATEGIES = {"default": zlib_ng.Z_DEFAULT_STRATEGY, "huffman": zlib_ng.Z_HUFFMAN_ONLY, "rle": zlib_ng.Z_RLE}
_MEM_LEVEL = 9


@dataclass(frozen=True)
class Codec:
    """How strips are encoded.

    Attributes
    ----------
    compression, predictor : str
        What a reader must know; both stand in the TIFF tags.
    strategy, level : str, int
        The encoder's business alone (deflate).
    """

    compression: Compression
    predictor: Predictor = "none"
    strategy: Strategy = "default"
    level: int = 6


def encode(codec: Codec, strip: NDArray[Any]) -> bytes:
    """Encode a strip, a C-contiguous array of shape (rows, nx)."""
    data: Any = strip
    if codec.predictor == "float":
        data = imagecodecs.floatpred_encode(strip, axis=-1)
    if codec.compression == "none":
        return bytes(memoryview(data).cast("B"))
    if codec.compression == "lzw":
        return bytes(imagecodecs.lzw_encode(data.tobytes()))
    deflate = zlib_ng.compressobj(
        level=codec.level,
        method=zlib_ng.DEFLATED,
        wbits=zlib_ng.MAX_WBITS,
        memLevel=_MEM_LEVEL,
        strategy=_STRATEGIES[codec.strategy],
    )
    head: bytes = deflate.compress(memoryview(data).cast("B"))
    return head + bytes(deflate.flush())


def decode(compression: Compression, predictor: Predictor, data: bytes, out: NDArray[Any]) -> None:
    """Decode a strip into `out`, a C-contiguous array of shape (rows, nx).

    The size of `out` bounds what is written, whatever the stream claims. An LZW stream must be known to be whole, by a
    sum: the library may crash on a damaged one.

    Raises
    ------
    DamagedError
        The stream is no valid one, or does not hold exactly the bytes of `out`.
    """
    flat = out.reshape(-1).view(np.uint8)
    try:
        plain: Any = data
        if compression == "lzw":
            # room for a byte more, so that a longer stream is noticed
            plain = imagecodecs.lzw_decode(data, out=len(flat) + 1)
        elif compression == "deflate":
            # ISA-L decodes Huffman codes of counts at twice the speed of other libraries
            inflate = isal_zlib.decompressobj()
            plain = inflate.decompress(data, len(flat))
            if not inflate.eof:
                raise DamagedError(f"a strip decodes to other than {len(flat)} bytes, or its end is missing")
        if len(plain) != len(flat):
            raise DamagedError(f"a strip decodes to {len(plain)} bytes instead of {len(flat)}")
        flat[:] = np.frombuffer(plain, np.uint8)
        if predictor == "float":
            out[...] = imagecodecs.floatpred_decode(out.copy(), axis=-1)
    except (RuntimeError, ValueError, OverflowError, igzip_lib.IsalError) as error:  # type: ignore[misc]
        raise DamagedError(f"a strip cannot be decoded ({error})") from error
