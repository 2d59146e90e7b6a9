"""Codecs of TIFF strips: what TIFF calls compression and predictor, and encoders and decoders of general libraries.

Every stream is one that any TIFF reader decodes: LZW as TIFF 6.0 has it, and zlib streams ("Adobe deflate"). On
electron counts the Huffman-only and run-length strategies of deflate are smaller and faster than its usual string
matching, because counts have no repeated strings beyond chance.
"""

from typing import Any, Literal

import imagecodecs
import numpy as np
from isal import igzip_lib, isal_zlib
from numpy.typing import NDArray
from zlib_ng import zlib_ng

from cryofs.errors import DamagedError

Strategy = Literal["default", "huffman", "rle"]

_STRATEGIES = {"default": zlib_ng.Z_DEFAULT_STRATEGY, "huffman": zlib_ng.Z_HUFFMAN_ONLY, "rle": zlib_ng.Z_RLE}
_MEM_LEVEL = 9
# deflate with a window of 32 kB, "fastest" (RFC 1950); inflate does not care how a stream was made
_ZLIB_HEAD = b"\x78\x01"


def encode_nothing(strip: NDArray[Any]) -> bytes:
    """The strip as it is."""
    return strip.tobytes()


def encode_lzw(strip: NDArray[Any]) -> bytes:
    """Encode a strip, a C-contiguous array of shape (rows, nx)."""
    return bytes(imagecodecs.lzw_encode(strip.tobytes()))


def encode_deflate(strip: NDArray[Any], strategy: Strategy = "default", level: int = 6) -> bytes:
    """Encode a strip by zlib-ng."""
    deflate = zlib_ng.compressobj(
        level=level,
        method=zlib_ng.DEFLATED,
        wbits=zlib_ng.MAX_WBITS,
        memLevel=_MEM_LEVEL,
        strategy=_STRATEGIES[strategy],
    )
    head: bytes = deflate.compress(strip.reshape(-1).view(np.uint8).data)
    return head + bytes(deflate.flush())


def encode_libdeflate(strip: NDArray[Any], level: int) -> bytes:
    """Encode a strip by libdeflate."""
    return bytes(imagecodecs.deflate_encode(strip.tobytes(), level=level))


def encode_float_deflate(strip: NDArray[Any], level: int) -> bytes:
    """Encode a strip of floats by zlib-ng, their bytes taken apart first (TIFF predictor 3)."""
    return encode_deflate(imagecodecs.floatpred_encode(strip, axis=-1), level=level)


def zlib_stream(block: bytes, strip: NDArray[Any]) -> bytes:
    """A final deflate block that holds the bytes of a strip, made a zlib stream (RFC 1950)."""
    return _ZLIB_HEAD + block + int(zlib_ng.adler32(strip.reshape(-1).view(np.uint8).data)).to_bytes(4, "big")


def check_sum(data: bytes, flat: NDArray[np.uint8]) -> None:
    """Check the Adler-32 at the end of a zlib stream from which `flat` was decoded; DamagedError where it differs."""
    if data[-4:] != int(zlib_ng.adler32(flat.data)).to_bytes(4, "big"):
        raise DamagedError("a strip decodes to bytes of another sum")


def inflate(data: bytes, flat: NDArray[np.uint8]) -> None:
    """Decode a zlib stream into `flat`, which bounds what is written, whatever the stream claims.

    Raises
    ------
    DamagedError
        The stream is no valid one, or does not hold exactly the bytes of `flat`.
    """
    # ISA-L decodes Huffman codes of counts at twice the speed of other libraries
    inflater = isal_zlib.decompressobj()
    try:
        plain = inflater.decompress(data, len(flat))
    except (OverflowError, igzip_lib.IsalError) as error:  # type: ignore[misc]
        raise DamagedError(f"a strip cannot be decoded ({error})") from error
    if not inflater.eof:
        raise DamagedError(f"a strip decodes to other than {len(flat)} bytes, or its end is missing")
    copy_plain(plain, flat)


def copy_plain(data: bytes, flat: NDArray[np.uint8]) -> None:
    """Copy a strip that is not encoded into `flat`; DamagedError where it has another size."""
    if len(data) != len(flat):
        raise DamagedError(f"a strip has {len(data)} bytes instead of {len(flat)}")
    flat[:] = np.frombuffer(data, np.uint8)
