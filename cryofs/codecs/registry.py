"""The registry of codecs: planner, readers and writers find a codec here, by its name or by its TIFF tags."""

from typing import Any

import numpy as np

from cryofs.codecs.codec import Codec, Compression, Encoder
from cryofs.codecs.deflate import Deflate
from cryofs.codecs.lzw import Lzw
from cryofs.codecs.predictor import PREDICTOR_TAGS, Predictor
from cryofs.codecs.uncompressed import Uncompressed

# To add a codec, write its class and add it here (and its name to `Compression`).
CODECS: tuple[type[Codec], ...] = (Uncompressed, Lzw, Deflate)
# All encoders, the fastest first.
ENCODERS = sorted((encoder for codec in CODECS for encoder in codec.encoders()), key=lambda encoder: encoder.cost)

_BY_NAME = {codec.compression: codec for codec in CODECS}
_BY_TAG = {tag: codec for codec in CODECS for tag in codec.tags}
_PREDICTORS = {tag: name for name, tag in PREDICTOR_TAGS.items()}


def codec_named(compression: Compression, predictor: Predictor = "none") -> Codec:
    """Return the codec with these names in a record."""
    return _BY_NAME[compression](predictor)


def codec_of_tags(compression: int, predictor: int) -> Codec | None:
    """Return the codec with these TIFF tags, or None if it is not supported."""
    codec, name = _BY_TAG.get(compression), _PREDICTORS.get(predictor)
    if codec is None or name is None:
        return None
    # readers ignore the predictor of uncompressed pixels
    return codec("none" if codec is Uncompressed else name)


def tags_of(codec: Codec) -> tuple[int, int]:
    """Return the TIFF tags Compression and Predictor that are written for a codec."""
    return codec.tags[0], PREDICTOR_TAGS[codec.predictor]


def encoders_for(dtype: np.dtype[Any]) -> list[Encoder]:
    """Return the encoders for pixels of a type, the fastest first."""
    kind = "float" if dtype.kind == "f" else "bytes" if dtype.itemsize == 1 else "wide"
    return [encoder for encoder in ENCODERS if encoder.pixels in (kind, "any")]


def encoder_of_level(level: int) -> Encoder:
    """Return the encoder for a level of deflate that the user chose."""
    return Deflate.level_encoder(level)


def load_compiled() -> None:
    """Load the compiled code that makes decoding faster; without it, decoding uses general libraries."""
    for codec in CODECS:
        if codec.compiled == "faster":
            codec.load_compiled()
