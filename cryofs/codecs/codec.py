"""Define the interface of a codec, which converts the pixels of a TIFF strip to bytes and back."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cryofs.codecs.predictor import Predictor, undo_predictor
from cryofs.errors import DamagedError

Pixels = Literal["bytes", "wide", "float", "any"]

# Rows of a strip unless an encoder needs more: one frame is then encoded and decoded on all cores.
STRIP_ROWS = 256


@dataclass(frozen=True)
class Codec(ABC):
    """A TIFF compression together with the predictor that was applied before it.

    Attributes
    ----------
    compression : str
        Name of the compression in the record of an archived movie.
    tags : tuple of int
        Values of the TIFF tag Compression that mean this compression. The first one is written.
    most_expansion : int
        Largest number of decoded bytes per encoded byte. A file that claims more is damaged, and is rejected before
        memory is allocated.
    compiled : str
        Whether compiled code decodes: ``"no"``; ``"faster"``, only after `load_compiled`; or ``"always"``, which the
        first decode loads.
    has_predictor : bool
        Whether readers apply the TIFF tag Predictor with this compression; libtiff ignores it with some.
    """

    compression: ClassVar[str]
    tags: ClassVar[tuple[int, ...]]
    most_expansion: ClassVar[int]
    compiled: ClassVar[Literal["no", "faster", "always"]]
    has_predictor: ClassVar[bool] = True

    predictor: Predictor = "none"

    @classmethod
    def encoders(cls) -> "Sequence[Encoder]":
        """Return the encoders of this codec that a plan compares; none if cryofs does not write the codec."""
        return ()

    @classmethod
    def load_compiled(cls) -> None:
        """Load the compiled code for faster decoding, if the codec has any."""
        return

    @abstractmethod
    def decode_bytes(self, streams: Sequence[bytes], flats: Sequence[NDArray[np.uint8]]) -> None:
        """Decode streams into arrays of bytes of shape (n,), without undoing the predictor; errors as in `decode`."""

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
    """Decode a stream into `flat` by a decoder of imagecodecs, which writes nothing outside it.

    Raises
    ------
    DamagedError
        The stream is invalid, or does not hold exactly the bytes of `flat`.
    """
    try:
        size = len(decoder(stream, out=flat))
    except RuntimeError as error:
        raise DamagedError(f"a strip cannot be decoded ({error})") from error
    if size != len(flat):
        raise DamagedError(f"a strip does not decode to {len(flat)} bytes")


@dataclass(frozen=True)
class Encoder:
    """One way to encode strips.

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
        Rank by encoding time among all encoders; the lowest is the fastest.
    rows : int
        Rows of a strip.
    """

    name: str
    codec: Codec
    encode: Callable[[NDArray[Any]], bytes]
    pixels: Pixels
    cost: int
    rows: int = STRIP_ROWS
