"""The interface of a codec, which converts the pixels of a TIFF strip to bytes and back."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cryofs.codecs.predictor import Predictor, undo_predictor
from cryofs.errors import DamagedError

Pixels = Literal["bytes", "wide", "float", "any"]

# Number of rows of a strip unless an encoder needs more, so that one frame is encoded and decoded on all cores.
STRIP_ROWS = 128


@dataclass(frozen=True)
class Codec(ABC):
    """A TIFF compression with the predictor that was applied before it.

    Attributes
    ----------
    compression : str
        Name of the compression in the record of an archived movie.
    tags : tuple of int
        Values of the TIFF tag Compression for this compression. The first one is written.
    most_expansion : int
        Maximum number of decoded bytes per encoded byte. A file with a larger ratio is damaged, and is rejected before
        memory is allocated.
    compiled : str
        Use of compiled code for decoding: ``"no"``; ``"faster"``, only after `load_compiled`; ``"always"``, loaded by
        the first decode.
    has_predictor : bool
        Whether readers apply the TIFF tag Predictor with this compression; libtiff ignores it for some compressions.
    """

    compression: ClassVar[str]
    tags: ClassVar[tuple[int, ...]]
    most_expansion: ClassVar[int]
    compiled: ClassVar[Literal["no", "faster", "always"]]
    has_predictor: ClassVar[bool] = True

    predictor: Predictor = "none"

    @classmethod
    def encoders(cls) -> "Sequence[Encoder]":
        """Return the encoders of this codec that a plan compares; none if cryofs does not write this codec."""
        return ()

    @classmethod
    def load_compiled(cls) -> None:
        """Load compiled code for faster decoding, if the codec has any."""
        return

    @abstractmethod
    def decode_bytes(self, streams: Sequence[bytes], flats: Sequence[NDArray[np.uint8]]) -> None:
        """Decode streams into arrays (uint8, shape (n,)), but do not undo the predictor; see `decode` for errors."""

    def decode(self, streams: Sequence[bytes], strips: Sequence[NDArray[Any]]) -> None:
        """Decode streams into C-contiguous arrays of shape (rows, nx); write nothing outside the arrays.

        Raises
        ------
        DamagedError
            A stream is invalid, or does not contain exactly as many bytes as its array.
        """
        self.decode_bytes(streams, [strip.reshape(-1).view(np.uint8) for strip in strips])
        if self.predictor != "none":
            for strip in strips:
                undo_predictor(self.predictor, strip)


def decode_into(decoder: Callable[..., Any], stream: bytes, flat: NDArray[np.uint8]) -> None:
    """Decode a stream into `flat` (uint8, shape (n,)) with a decoder of imagecodecs, which writes nothing outside it.

    Raises
    ------
    DamagedError
        The stream is invalid, or does not contain exactly as many bytes as `flat`.
    """
    try:
        size = len(decoder(stream, out=flat))
    except RuntimeError as error:
        raise DamagedError(f"a strip cannot be decoded ({error})") from error
    if size != len(flat):
        raise DamagedError(f"a strip does not decode to {len(flat)} bytes")


@dataclass(frozen=True)
class Encoder:
    """A way to encode strips.

    Attributes
    ----------
    name : str
        Name in the record of an archived movie, for information only.
    codec : Codec
        Codec that decodes the streams.
    encode : callable
        Function that encodes a C-contiguous array of shape (rows, nx) as bytes.
    pixels : str
        Pixel types that the encoder supports: one-byte, wider integers, floats, or any.
    cost : int
        Rank by encoding time among all encoders; the fastest has the lowest rank.
    rows : int
        Number of rows of a strip.
    """

    name: str
    codec: Codec
    encode: Callable[[NDArray[Any]], bytes]
    pixels: Pixels
    cost: int
    rows: int = STRIP_ROWS
