"""Arrays as pictures inside a page."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cryofs.report.movie_summary import binned, limits

_QUALITY = 85
# a colour that stands out of grey, also where colours are told apart badly
_MARK = (255, 96, 0)


@dataclass(frozen=True)
class Picture:
    """An image as the page shows it.

    Attributes
    ----------
    url : str
        The picture itself.
    low, high : float
        Values drawn black and white.
    step : int
        Pixels a side of the image that a pixel of the picture is the mean of.
    """

    url: str
    low: float
    high: float
    step: int


def draw(image: NDArray[np.float32], side: int, marks: NDArray[np.bool_] | None = None) -> Picture:
    """An image in grey, as a picture of at most `side` pixels a side, first row at the bottom.

    Parameters
    ----------
    marks : ndarray of bool or None
        Pixels of the image that are drawn in colour, each as some pixels of the picture, so that it is seen.
    """
    step = -(-max(image.shape) // side)
    small = binned(image, step)
    marked = np.zeros(small.shape, bool) if marks is None else _grown(binned(marks.astype(np.float32), step) > 0)
    # where all is marked, no grey is seen
    low, high = limits(small if marked.all() else small[~marked])
    grey = np.clip((small - low) / (high - low), 0, 1)
    pixels = np.repeat(np.nan_to_num(grey * 255).astype(np.uint8)[:, :, np.newaxis], 3, 2)
    pixels[marked] = _MARK
    file = io.BytesIO()
    # lossy compression would smear single marked pixels
    kind, options = ("JPEG", {"quality": _QUALITY}) if marks is None else ("PNG", {})
    Image.fromarray(np.ascontiguousarray(pixels[::-1])).save(file, kind, **options)
    url = f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
    return Picture(url, low, high, step)


def _grown(marks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Marks with their neighbours, 3 x 3 for each."""
    wide = np.pad(marks, 1)
    rows = wide[:-2] | wide[1:-1] | wide[2:]
    return rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]
