"""Zstandard as written by libtiff, with one stream for each strip; decoding only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from cryofs.codecs.codec import Codec, decode_into


@dataclass(frozen=True)
class Zstd(Codec):
    """The codec Zstandard (TIFF 50000)."""

    compression: ClassVar[str] = "zstd"
    tags: ClassVar[tuple[int, ...]] = (50000,)
    # the expansion is that of a block of 128 kB with one repeated byte, which takes four bytes
    most_expansion: ClassVar[int] = 1 << 15
    compiled: ClassVar[Literal["no", "faster", "always"]] = "no"

    def decode_bytes(self, streams: Sequence[bytes], flats: Sequence[NDArray[np.uint8]]) -> None:
        """Decode each stream into its array (uint8, shape (n,)); see `Codec.decode_bytes`."""
        for stream, flat in zip(streams, flats, strict=True):
            decode_into(imagecodecs.zstd_decode, stream, flat)
