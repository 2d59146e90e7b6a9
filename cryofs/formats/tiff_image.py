"""Reader of single images, such as gain references, in TIFF files of any kind."""

import logging
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from cryofs.errors import FormatError

# disabled, because tifffile logs warnings about damaged files to the terminal, and errors report them already
logging.getLogger("tifffile").addHandler(logging.NullHandler())


# Private tags of Thermo Fisher Scientific: acquisition metadata, and the defects of the detector.
_EER_TAGS = {65001, 65100}


def has_eer_metadata(path: Path) -> bool:
    """Return True if a TIFF file has the private tags of EER gain references."""
    try:
        with tifffile.TiffFile(path) as tiff:
            return any(tag.code in _EER_TAGS for tag in tiff.pages[0].tags)  # type: ignore[union-attr]
    except (ValueError, OSError, tifffile.TiffFileError):
        return False


def read_image(path: Path) -> NDArray[np.float32]:
    """Return the first image of a TIFF file (float32, shape (ny, nx)), rows in file order.

    Raises
    ------
    FormatError
        The file is not a TIFF file, or its first image does not have one value per pixel.
    """
    try:
        with tifffile.TiffFile(path) as tiff:
            values = tiff.pages[0].asarray()
    except Exception as error:
        raise FormatError(f"not a valid TIFF image ({error})") from error
    if values.ndim != 2 or values.dtype.kind not in "uif":
        raise FormatError(
            f"not a valid gain reference (expected one number per pixel, got shape {values.shape}, type {values.dtype})"
        )
    # values too large for float32 become infinite, without a warning
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, np.float32)
