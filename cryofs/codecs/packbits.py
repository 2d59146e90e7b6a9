"""PackBits, a run-length code of bytes (TIFF 6.0, section 9); decoding only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from cryofs.codecs.codec import Codec, decode_into


@dataclass(frozen=True)
class PackBits(Codec):
    """The codec PackBits (TIFF 32773), which has no predictor."""

    compression: ClassVar[str] = "packbits"
    tags: ClassVar[tuple[int, ...]] = (32773,)
    # the expansion is that of a run of 128 bytes, which takes two bytes
    most_expansion: ClassVar[int] = 64
    compiled: ClassVar[Literal["no", "faster", "always"]] = "no"
    has_predictor: ClassVar[bool] = False

    def decode_bytes(self, streams: Sequence[bytes], flats: Sequence[NDArray[np.uint8]]) -> None:
        """Decode each stream into its array (uint8, shape (n,)); see `Codec.decode_bytes`."""
        for stream, flat in zip(streams, flats, strict=True):
            decode_into(imagecodecs.packbits_decode, stream, flat)
