"""Uncompressed strips."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cryofs.codecs.codec import Codec, Encoder
from cryofs.errors import DamagedError


@dataclass(frozen=True)
class Uncompressed(Codec):
    """The codec without compression (TIFF 1)."""

    compression: ClassVar[str] = "none"
    tags: ClassVar[tuple[int, ...]] = (1,)
    most_expansion: ClassVar[int] = 1
    compiled: ClassVar[Literal["no", "faster", "always"]] = "no"
    has_predictor: ClassVar[bool] = False

    @classmethod
    def encoders(cls) -> Sequence[Encoder]:
        """Return the only encoder."""
        return (Encoder("none", cls(), encode, "any", cost=0),)

    def decode_bytes(self, streams: Sequence[bytes], flats: Sequence[NDArray[np.uint8]]) -> None:
        """Copy each stream into its array (uint8, shape (n,)); raise DamagedError if the sizes differ."""
        for stream, flat in zip(streams, flats, strict=True):
            copy_bytes(stream, flat)


def encode(strip: NDArray[Any]) -> bytes:
    """Return the bytes of the pixels of a strip, shape (rows, nx), unchanged."""
    return strip.tobytes()


def copy_bytes(data: bytes, flat: NDArray[np.uint8]) -> None:
    """Copy a stored strip into `flat`; raise DamagedError if the sizes differ."""
    if len(data) != len(flat):
        raise DamagedError(f"wrong size of a strip (expected {len(flat)} bytes, got {len(data)})")
    flat[:] = np.frombuffer(data, np.uint8)
