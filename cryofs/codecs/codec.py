"""What a TIFF reader must know of encoded strips."""

from dataclasses import dataclass
from typing import Literal

Compression = Literal["none", "lzw", "deflate"]
Predictor = Literal["none", "horizontal", "float"]
# Bytes that one encoded byte stands for, at most: 1032 in deflate, 1290 in LZW. What claims more is damaged, and is
# refused before memory is taken for it.
MOST_EXPANSION = 1 << 11


@dataclass(frozen=True)
class Codec:
    """What a reader must know of encoded strips; both stand in the TIFF tags."""

    compression: Compression
    predictor: Predictor = "none"
