"""Draw arrays as pictures for an HTML page."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cryofs.report.movie_summary import binned, limits

_QUALITY = 85
# a colour that contrasts with grey for all readers, including those with colour blindness
_MARK = (255, 96, 0)


@dataclass(frozen=True)
class Picture:
    """An image embedded in the page.

    Attributes
    ----------
    url : str
        Picture as a data URL.
    low, high : float
        Values drawn as black and as white.
    step : int
        Number of image pixels along each axis that are averaged into one pixel of the picture.
    """

    url: str
    low: float
    high: float
    step: int


def draw(image: NDArray[np.float32], side: int, marks: NDArray[np.bool_] | None = None) -> Picture:
    """Return a grey picture of an image of shape (ny, nx), at most `side` pixels wide and high, row 0 at the bottom.

    Parameters
    ----------
    marks : ndarray of bool or None
        Pixels to draw in colour, with the shape of the image; they are enlarged so that they remain visible.
    """
    step = -(-max(image.shape) // side)
    small = binned(image, step)
    marked = np.zeros(small.shape, bool) if marks is None else _enlarged(binned(marks.astype(np.float32), step) > 0)
    # if all pixels are marked, the limits have no effect
    low, high = limits(small if marked.all() else small[~marked])
    grey = np.clip((small - low) / (high - low), 0, 1)
    pixels = np.repeat(np.nan_to_num(grey * 255).astype(np.uint8)[:, :, np.newaxis], 3, 2)
    pixels[marked] = _MARK
    file = io.BytesIO()
    # lossy compression would blur marked pixels
    kind, options = ("JPEG", {"quality": _QUALITY}) if marks is None else ("PNG", {})
    Image.fromarray(np.ascontiguousarray(pixels[::-1])).save(file, kind, **options)
    url = f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
    return Picture(url, low, high, step)


def _enlarged(marks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the marks, each enlarged to 3 x 3 pixels."""
    wide = np.pad(marks, 1)
    rows = wide[:-2] | wide[1:-1] | wide[2:]
    return rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]
