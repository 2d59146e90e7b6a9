"""Decoders of strips by their codec."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.codecs import deflate, predictor
from cryofs.codecs.codec import Codec

# The faster decoder of counts, once it is loaded.
_decode_literals: Callable[[Sequence[bytes], Sequence[NDArray[np.uint8]]], list[bool]] | None = None


def load_compiled() -> None:
    """Load compiled code that decodes counts at twice the speed and more; until then they are decoded without."""
    global _decode_literals
    from cryofs.codecs import huffman_decoder

    huffman_decoder.load()
    _decode_literals = huffman_decoder.decode


def decode_strips(codec: Codec, streams: Sequence[bytes], strips: Sequence[NDArray[Any]]) -> None:
    """Decode strips into C-contiguous arrays of shape (rows, nx), and nothing beside them.

    Raises
    ------
    DamagedError
        A stream is no valid one, or does not hold exactly the bytes of its array.
    """
    flats = [strip.reshape(-1).view(np.uint8) for strip in strips]
    decoded = _decode_literals(streams, flats) if _decode_literals and codec.compression == "deflate" else []
    for stream, flat, is_decoded in itertools.zip_longest(streams, flats, decoded):
        if is_decoded:
            deflate.check_sum(stream, flat)
        else:
            _decode_strip(codec, stream, flat)
    for strip in strips:
        predictor.undo_predictor(codec.predictor, strip)


def _decode_strip(codec: Codec, data: bytes, flat: NDArray[np.uint8]) -> None:
    if codec.compression == "lzw":
        # compiled code takes a third of a second to load, which only those who need it should wait for
        from cryofs.codecs import lzw

        lzw.decode(data, flat)
    elif codec.compression == "deflate":
        deflate.inflate(data, flat)
    else:
        deflate.copy_plain(data, flat)
