"""The registry of codecs, which finds a codec by the name in a record or by TIFF tags."""

from functools import lru_cache
from typing import Any

import numpy as np

from cryofs.codecs.codec import Codec, Encoder
from cryofs.codecs.deflate import Deflate
from cryofs.codecs.lzw_codec import Lzw
from cryofs.codecs.packbits import PackBits
from cryofs.codecs.predictor import PREDICTOR_TAGS, Predictor
from cryofs.codecs.uncompressed import Uncompressed
from cryofs.codecs.xz import Lzma
from cryofs.codecs.zstd import Zstd

# To add a codec, write its class and list it here.
CODECS: tuple[type[Codec], ...] = (Uncompressed, Lzw, Deflate, Zstd, Lzma, PackBits)

_PREDICTORS = {tag: name for name, tag in PREDICTOR_TAGS.items()}


def compressions() -> tuple[str, ...]:
    """Return the names of all compressions that a record may contain, which are those with encoders."""
    return _compressions(CODECS)


@lru_cache
def _compressions(codecs: tuple[type[Codec], ...]) -> tuple[str, ...]:
    return tuple(codec.compression for codec in codecs if codec.encoders())


def readable() -> list[str]:
    """Return the names of all compressions that cryofs can decode."""
    return [codec.compression for codec in CODECS]


def codec_named(compression: str, predictor: Predictor = "none") -> Codec:
    """Return the codec with the compression and predictor that a record names."""
    return next(codec for codec in CODECS if codec.compression == compression)(predictor)


def codec_of_tags(compression: int, predictor: int) -> Codec | None:
    """Return the codec with these TIFF tags, or None if there is no such codec."""
    codec = next((codec for codec in CODECS if compression in codec.tags), None)
    name = _PREDICTORS.get(predictor)
    if codec is None or name is None:
        return None
    return codec(name if codec.has_predictor else "none")


def tags_of(codec: Codec) -> tuple[int, int]:
    """Return the values of the TIFF tags Compression and Predictor to write for a codec."""
    return codec.tags[0], PREDICTOR_TAGS[codec.predictor]


def all_encoders() -> tuple[Encoder, ...]:
    """Return the encoders of all codecs, fastest first."""
    return _encoders(CODECS)


@lru_cache
def _encoders(codecs: tuple[type[Codec], ...]) -> tuple[Encoder, ...]:
    return tuple(sorted((one for codec in codecs for one in codec.encoders()), key=lambda encoder: encoder.cost))


def encoders_for(dtype: np.dtype[Any]) -> list[Encoder]:
    """Return the encoders for pixels of a type, fastest first."""
    kind = "float" if dtype.kind == "f" else "bytes" if dtype.itemsize == 1 else "wide"
    return [encoder for encoder in all_encoders() if encoder.pixels in (kind, "any")]


def encoder_of_level(level: int) -> Encoder:
    """Return the encoder for a level of deflate."""
    return Deflate.level_encoder(level)


def load_compiled() -> None:
    """Load the compiled code of all codecs for faster decoding; until then, general libraries decode."""
    for codec in CODECS:
        if codec.compiled == "faster":
            codec.load_compiled()
