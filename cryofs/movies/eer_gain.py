"""Gain references of EER movies: files of two conventions, shown as the one that MRC movies have.

A `.gain` file is a TIFF to be multiplied with, its rows as they are stored; any other is an MRC file to be divided by.

Thread safety: an `EerGains` may be shared; one thread at a time loads a reference.
"""

import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.detector import eer_gain
from cryofs.errors import CryofsError, GainError
from cryofs.formats import mrc, tiff
from cryofs.formats.mrc import MrcHeader
from cryofs.movies.gain import load_reference
from cryofs.movies.movie import Layout, Movie

_TIFF_SUFFIX = ".gain"


class EerGains:
    """Gain references of EER movies, each loaded once for a grid while it is in use."""

    def __init__(self) -> None:
        self._loading = threading.Lock()
        self._loaded: weakref.WeakValueDictionary[tuple[object, ...], NDArray[np.float32]]
        self._loaded = weakref.WeakValueDictionary()
        # keeps the last one alive until the next movie is opened
        self._recent: NDArray[np.float32] | None = None

    def get(self, path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Gain to be multiplied with counts of this shape, rows as the EER has them.

        Raises
        ------
        GainError
            The file cannot be read, or is of another size than the image, its half, double, quarter or quadruple.
        """
        try:
            stat = path.stat()
        except OSError as error:
            raise GainError(f"{path}: the gain reference cannot be read ({error.strerror}); give another") from error
        key = (path, stat.st_ino, stat.st_size, stat.st_mtime_ns, shape)
        # whoever waits here needs the reference that is being loaded, and would load it once more
        with self._loading:
            if (known := self._loaded.get(key)) is not None:
                return known
            self._loaded[key] = self._recent = _load(path, shape)
            return self._recent


def _load(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    try:
        if path.suffix == _TIFF_SUFFIX:
            return eer_gain.resample(tiff.read_image(path), shape)
        return eer_gain.to_multiply(eer_gain.resample(load_reference(path).gain, shape))
    except GainError:
        raise
    except (ValueError, CryofsError, OSError) as error:
        raise GainError(f"{path}: {error}; give the gain reference of this detector") from error


class EerGainMovie(Movie):
    """A gain reference on the grid of rendered fractions, as an MRC file of one frame to be multiplied with them."""

    def __init__(self, path: Path, header: MrcHeader, gains: EerGains):
        self.name = str(path)
        self._path = path
        self._gains = gains
        self._header = header
        self.layout = Layout.of(header)

    @property
    def mrc_header(self) -> MrcHeader:
        """Header of the virtual file."""
        return self._header

    def raw_frame(self, index: int) -> NDArray[np.uint8]:
        """Bytes of the reference.

        Raises
        ------
        GainError
            See `EerGains.get`.
        """
        return self.kept_frame(index)

    def stored_frame(self, index: int) -> NDArray[np.float32]:
        """The reference on its grid."""
        if index != 0:
            raise IndexError(f"{self.name}: a gain reference has no frame {index}")
        return self._gains.get(self._path, self.shape[1:])

    def kept_frame(
        self, index: int, memory: NDArray[Any] | None = None, stored: NDArray[np.float32] | None = None
    ) -> NDArray[np.uint8]:
        """Bytes of the reference."""
        return mrc.frame_raw(self.stored_frame(index) if stored is None else stored, self._header)

    def read_trailing(self, size: int, offset: int) -> bytes:
        """Nothing follows the frame."""
        return b""

    def close(self) -> None:
        """Nothing is kept open."""
