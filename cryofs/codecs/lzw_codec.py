"""LZW (TIFF 6.0, section 13); the kernels are imported late, because importing them takes a third of a second."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from cryofs.codecs.codec import Codec, Encoder

# LZW starts each strip with an empty dictionary; strips with a quarter of these rows are 0.03 % larger.
_STRIP_ROWS = 4096
# Share of large counts above which the general encoder produces shorter streams.
_LARGE_SHARE = 1e-3


@dataclass(frozen=True)
class Lzw(Codec):
    """The codec LZW (TIFF 5), which yields the smallest streams for sparse counts."""

    compression: ClassVar[str] = "lzw"
    tags: ClassVar[tuple[int, ...]] = (5,)
    # the expansion is 1290 at the end of a dictionary
    most_expansion: ClassVar[int] = 1 << 11
    compiled: ClassVar[Literal["no", "faster", "always"]] = "always"

    @classmethod
    def encoders(cls) -> Sequence[Encoder]:
        """Return the only encoder."""
        return (Encoder("lzw", cls(), encode, "any", cost=3, rows=_STRIP_ROWS),)

    def decode_bytes(self, streams: Sequence[bytes], flats: Sequence[NDArray[np.uint8]]) -> None:
        """Decode each stream into its array (uint8, shape (n,)); see `Codec.decode_bytes`."""
        from cryofs.codecs import lzw

        for stream, flat in zip(streams, flats, strict=True):
            lzw.decode(stream, flat)


def encode(strip: NDArray[Any]) -> bytes:
    """Return the LZW stream of a C-contiguous strip, shape (rows, nx); small counts are encoded by a kernel."""
    from cryofs.codecs import lzw

    data = strip.reshape(-1).view(np.uint8)
    # the maximum comes first, because sparse counts rarely have a large one, and finding it is faster than counting
    if data.max() < lzw.SMALL or np.count_nonzero(data >= lzw.SMALL) <= _LARGE_SHARE * data.size:
        return lzw.encode(data)
    return encode_any(strip)


def encode_any(strip: NDArray[Any]) -> bytes:
    """Return the LZW stream of a strip of any values, shape (rows, nx), encoded with imagecodecs."""
    return bytes(imagecodecs.lzw_encode(strip.tobytes()))
