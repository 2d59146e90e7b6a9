"""Decode PackBits, run lengths of bytes (TIFF 6.0, section 9)."""

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
    # a run of 128 bytes takes two bytes
    most_expansion: ClassVar[int] = 64
    compiled: ClassVar[Literal["no", "faster", "always"]] = "no"
    has_predictor: ClassVar[bool] = False

    def decode_bytes(self, streams: Sequence[bytes], flats: Sequence[NDArray[np.uint8]]) -> None:
        """Decode streams into arrays, one after the other."""
        for stream, flat in zip(streams, flats, strict=True):
            decode_into(imagecodecs.packbits_decode, stream, flat)
