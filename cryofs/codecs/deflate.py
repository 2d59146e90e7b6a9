"""Deflate in zlib streams ("Adobe deflate"), by general libraries and by Huffman kernels.

For electron counts, the Huffman-only and run-length strategies produce smaller streams in less time than string
matching, because counts repeat only by chance.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
from isal import igzip_lib, isal_zlib
from numpy.typing import NDArray
from zlib_ng import zlib_ng

from cryofs.codecs.codec import Codec, Encoder
from cryofs.codecs.predictor import apply_float_predictor
from cryofs.errors import DamagedError

Strategy = Literal["default", "huffman", "rle"]

_STRATEGIES = {"default": zlib_ng.Z_DEFAULT_STRATEGY, "huffman": zlib_ng.Z_HUFFMAN_ONLY, "rle": zlib_ng.Z_RLE}
_MEM_LEVEL = 9
# Header for a window of 32 kB and level "fastest" (RFC 1950). Decoders ignore the level.
_ZLIB_HEAD = b"\x78\x01"

# The decoder of Huffman-coded counts; None until `Deflate.load_compiled`.
_decode_literals: Callable[[Sequence[bytes], Sequence[NDArray[np.uint8]]], list[bool]] | None = None


@dataclass(frozen=True)
class Deflate(Codec):
    """The codec deflate (TIFF 8, or 32946 in old files)."""

    compression: ClassVar[str] = "deflate"
    tags: ClassVar[tuple[int, ...]] = (8, 32946)
    # the expansion is 1032 in a block of repeated bytes
    most_expansion: ClassVar[int] = 1 << 11
    compiled: ClassVar[Literal["no", "faster", "always"]] = "faster"

    @classmethod
    def encoders(cls) -> Sequence[Encoder]:
        """Return the encoders for counts, other integers and floats."""
        plain, of_floats = cls(), cls("float")
        huffman, rle = partial(encode_deflate, strategy="huffman"), partial(encode_deflate, strategy="rle")
        third, sixth = partial(encode_deflate, level=3), partial(encode_deflate, level=6)
        return (
            Encoder("huffman", plain, encode_huffman, "bytes", cost=1),
            Encoder("huffman", plain, huffman, "wide", cost=1),
            Encoder("huffman", plain, huffman, "float", cost=1),
            Encoder("rle", plain, rle, "any", cost=2),
            Encoder("deflate-3", plain, third, "any", cost=5),
            Encoder("float-deflate-3", of_floats, partial(encode_float_deflate, level=3), "float", cost=6),
            Encoder("deflate-6", plain, sixth, "bytes", cost=7),
            Encoder("deflate-6", plain, sixth, "wide", cost=7),
        )

    @classmethod
    def level_encoder(cls, level: int) -> Encoder:
        """Return the encoder for a compression level."""
        return Encoder(f"deflate-{level}", cls(), partial(encode_deflate, level=level), "any", cost=0)

    @classmethod
    def load_compiled(cls) -> None:
        """Load the decoder of Huffman-coded counts, which is at least twice as fast as the general decoder."""
        global _decode_literals
        from cryofs.codecs import huffman_decoder

        huffman_decoder.load()
        _decode_literals = huffman_decoder.decode

    def decode_bytes(self, streams: Sequence[bytes], flats: Sequence[NDArray[np.uint8]]) -> None:
        """Decode streams with compiled code where possible, and all others with `inflate`."""
        decoded = _decode_literals(streams, flats) if _decode_literals else []
        for stream, flat, is_decoded in itertools.zip_longest(streams, flats, decoded):
            if is_decoded:
                check_adler32(stream, flat)
            else:
                inflate(stream, flat)


def encode_huffman(strip: NDArray[Any]) -> bytes:
    """Return the zlib stream of small counts, shape (rows, nx), encoded with one Huffman code by compiled code."""
    from cryofs.codecs import huffman_encoder

    return zlib_stream(huffman_encoder.encode(strip.reshape(-1).view(np.uint8)), strip)


def encode_deflate(strip: NDArray[Any], strategy: Strategy = "default", level: int = 6) -> bytes:
    """Return the zlib stream of a C-contiguous strip, shape (rows, nx), encoded with zlib-ng."""
    deflate = zlib_ng.compressobj(
        level=level,
        method=zlib_ng.DEFLATED,
        wbits=zlib_ng.MAX_WBITS,
        memLevel=_MEM_LEVEL,
        strategy=_STRATEGIES[strategy],
    )
    head: bytes = deflate.compress(strip.reshape(-1).view(np.uint8).data)
    return head + bytes(deflate.flush())


def encode_float_deflate(strip: NDArray[Any], level: int) -> bytes:
    """Return the zlib stream of floats, shape (rows, nx), encoded with zlib-ng after the predictor for floats."""
    return encode_deflate(apply_float_predictor(strip), level=level)


def zlib_stream(block: bytes, strip: NDArray[Any]) -> bytes:
    """Return a zlib stream (RFC 1950) with one final deflate block that contains the bytes of a strip."""
    return _ZLIB_HEAD + block + int(zlib_ng.adler32(strip.reshape(-1).view(np.uint8).data)).to_bytes(4, "big")


def check_adler32(data: bytes, flat: NDArray[np.uint8]) -> None:
    """Raise DamagedError if the checksum at the end of a zlib stream does not match the decoded bytes `flat`."""
    if data[-4:] != int(zlib_ng.adler32(flat.data)).to_bytes(4, "big"):
        raise DamagedError("checksum mismatch in a decoded strip")


def inflate(data: bytes, flat: NDArray[np.uint8]) -> None:
    """Decode a zlib stream into `flat` (uint8, shape (n,)); write nothing outside it, even for a damaged stream.

    Raises
    ------
    DamagedError
        The stream is invalid, or does not contain exactly as many bytes as `flat`.
    """
    # ISA-L decodes Huffman codes of counts at twice the speed of other libraries
    inflater = isal_zlib.decompressobj()
    try:
        plain = inflater.decompress(data, len(flat))
    except (OverflowError, igzip_lib.IsalError) as error:  # type: ignore[misc]
        raise DamagedError(f"a strip cannot be decoded ({error})") from error
    if not inflater.eof or len(plain) != len(flat):
        raise DamagedError(f"a strip does not decode to {len(flat)} bytes")
    flat[:] = np.frombuffer(plain, np.uint8)
