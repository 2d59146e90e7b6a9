"""LZMA as written by libtiff, with one xz stream for each strip; decoding only."""

import lzma
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cryofs.codecs.codec import Codec
from cryofs.errors import DamagedError

# Memory limit of the decoder, which allocates its dictionary first. The largest preset of xz takes 65 MiB.
_MEMORY = 128 << 20


@dataclass(frozen=True)
class Lzma(Codec):
    """The codec LZMA (TIFF 34925)."""

    compression: ClassVar[str] = "lzma"
    tags: ClassVar[tuple[int, ...]] = (34925,)
    # the expansion of repeated bytes is 6800
    most_expansion: ClassVar[int] = 1 << 14
    compiled: ClassVar[Literal["no", "faster", "always"]] = "no"

    def decode_bytes(self, streams: Sequence[bytes], flats: Sequence[NDArray[np.uint8]]) -> None:
        """Decode each stream into its array (uint8, shape (n,)); see `Codec.decode_bytes`."""
        for stream, flat in zip(streams, flats, strict=True):
            unpack(stream, flat)


def unpack(data: bytes, flat: NDArray[np.uint8]) -> None:
    """Decode an xz stream into `flat`; raise DamagedError unless the stream contains exactly as many bytes."""
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY)
    try:
        # requesting one more byte reaches the end of the stream, where its checksum is compared
        plain = decoder.decompress(data, len(flat) + 1)
    except (lzma.LZMAError, EOFError) as error:
        raise DamagedError(f"a strip cannot be decoded ({error})") from error
    if not decoder.eof or len(plain) != len(flat):
        raise DamagedError(f"a strip does not decode to {len(flat)} bytes")
    flat[:] = np.frombuffer(plain, np.uint8)
