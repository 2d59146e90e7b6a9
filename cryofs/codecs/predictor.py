"""TIFF predictors."""

from typing import Any

import imagecodecs
from numpy.typing import NDArray

from cryofs.codecs.codec import Predictor


def undo_predictor(predictor: Predictor, out: NDArray[Any]) -> None:
    """Undo what a predictor did to the pixels: took the bytes of floats apart, or took differences along a row."""
    if predictor == "horizontal":
        native = out.astype(out.dtype.newbyteorder("="))
        out[...] = imagecodecs.delta_decode(native, axis=-1)
    elif predictor == "float":
        out[...] = imagecodecs.floatpred_decode(out.copy(), axis=-1)
