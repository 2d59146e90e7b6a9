"""TIFF predictors, which are reversible changes to the pixels of a strip before encoding."""

from typing import Any, Literal

import imagecodecs
import numpy as np
from numpy.typing import NDArray

Predictor = Literal["none", "horizontal", "float"]

# Values of the TIFF tag Predictor.
PREDICTOR_TAGS: dict[Predictor, int] = {"none": 1, "horizontal": 2, "float": 3}


def apply_float_predictor(strip: NDArray[Any]) -> NDArray[Any]:
    """Return floats, shape (rows, nx), as differences along each row with bytes grouped by significance."""
    separated: NDArray[Any] = imagecodecs.floatpred_encode(strip, axis=-1)
    return separated


def undo_predictor(predictor: Predictor, out: NDArray[Any]) -> None:
    """Undo a predictor in place, in an array of shape (rows, nx)."""
    if predictor == "horizontal":
        # floats are also summed by their bits, as integers
        bits = out.view(f"{out.dtype.byteorder}u{out.dtype.itemsize}")
        bits[...] = imagecodecs.delta_decode(bits.astype(bits.dtype.newbyteorder("=")), axis=-1)
    elif predictor == "float":
        out[...] = imagecodecs.floatpred_decode(out.copy(), axis=-1)


def suits(predictor: Predictor, dtype: np.dtype[Any]) -> bool:
    """Return True if the predictor is defined for this pixel type."""
    return predictor != "float" or dtype.kind == "f"
