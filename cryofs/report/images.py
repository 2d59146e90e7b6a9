"""Arrays as pictures inside a page."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cryofs.report.look import binned, limits

_QUALITY = 85
# a colour that stands out of grey, also where colours are told apart badly
_MARK = (255, 96, 0)


def data_url(
    image: NDArray[np.float32],
    side: int,
    marks: NDArray[np.bool_] | None = None,
    span: tuple[float, float] | None = None,
) -> str:
    """A picture in grey, of at most `side` pixels a side, first row at the bottom.

    Parameters
    ----------
    marks : ndarray of bool or None
        Pixels of the image that are drawn in colour, each as some pixels of the picture, so that it is seen.
    span : tuple or None
        Values drawn black and white.
    """
    step = -(-max(image.shape) // side)
    small = binned(image, step)
    low, high = span or limits(small)
    grey = np.clip((small - low) / (high - low), 0, 1)
    picture = np.repeat(np.nan_to_num(grey * 255).astype(np.uint8)[:, :, np.newaxis], 3, 2)
    if marks is not None:
        picture[_grown(binned(marks.astype(np.float32), step) > 0)] = _MARK
    file = io.BytesIO()
    # lossy compression would smear single marked pixels
    kind, options = ("JPEG", {"quality": _QUALITY}) if marks is None else ("PNG", {})
    Image.fromarray(np.ascontiguousarray(picture[::-1])).save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def _grown(marks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Marks with their neighbours, 3 x 3 for each."""
    wide = np.pad(marks, 1)
    rows = wide[:-2] | wide[1:-1] | wide[2:]
    return rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]
