"""Gain references of EER movies: files of two conventions, shown as the one that MRC movies have.

A `.gain` file is a TIFF to be multiplied with, its rows as they are stored; any other is an MRC file to be divided by.

Thread safety: an `EerGains` may be shared; one thread at a time loads a reference.
"""

import threading
import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryofs.errors import ChangedError, CryofsError, GainError
from cryofs.formats import mrc, tiff_pages
from cryofs.formats.mrc import Layout, MrcHeader
from cryofs.kernels import eer_gain
from cryofs.movies.gain_library import load_reference
from cryofs.movies.movie import InMemoryFrame, Movie
from cryofs.storage.file_state import FileState, state_of

_TIFF_SUFFIX = ".gain"


@dataclass(frozen=True, eq=False)
class EerGain:
    """A gain to be multiplied with counts, rows as the EER has them, and the state of the file behind it."""

    values: NDArray[np.float32]
    state: FileState


class EerGains:
    """Gain references of EER movies, each loaded once for a grid while it is in use."""

    def __init__(self) -> None:
        self._loading = threading.Lock()
        self._loaded: weakref.WeakValueDictionary[tuple[Path, FileState, tuple[int, int]], EerGain]
        self._loaded = weakref.WeakValueDictionary()
        # keeps the last one alive until the next movie is opened
        self._recent: EerGain | None = None

    def get(self, path: Path, shape: tuple[int, int]) -> EerGain:
        """Gain for counts of this shape.

        Raises
        ------
        GainError
            The file cannot be read, or is of another size than the image, its half, double, quarter or quadruple.
        ChangedError
            The file was written to while it was read.
        """
        state = _state(path)
        # whoever waits here needs the reference that is being loaded, and would load it once more
        with self._loading:
            if (known := self._loaded.get((path, state, shape))) is not None:
                return known
            gain = EerGain(_load(path, shape), state)
            if _state(path) != state:
                raise ChangedError(f"{path}: changed while it was read; try again once it is written")
            self._loaded[path, state, shape] = self._recent = gain
            return gain


def _state(path: Path) -> FileState:
    try:
        return state_of(path.stat())
    except OSError as error:
        raise GainError(f"{path}: the gain reference cannot be read ({error.strerror}); give another") from error


def _load(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    try:
        if path.suffix == _TIFF_SUFFIX:
            return eer_gain.resample(tiff_pages.read_image(path), shape)
        return eer_gain.to_multiply(eer_gain.resample(load_reference(path).gain, shape))
    except GainError:
        raise
    except (ValueError, CryofsError, OSError) as error:
        raise GainError(f"{path}: {error}; give the gain reference of this detector") from error


class EerGainMovie(Movie):
    """A gain reference on the grid of rendered fractions, as an MRC file of one frame to be multiplied with them.

    Raises
    ------
    GainError, ChangedError
        See `EerGains.get`.
    """

    def __init__(self, path: Path, header: MrcHeader, gains: EerGains):
        self.name = str(path)
        self.gain = gains.get(path, (header.ny, header.nx))
        self._header = header
        self.layout = Layout.of(header)
        self.identity = *self.gain.state, "EER gain", self._header.shape

    @property
    def mrc_header(self) -> MrcHeader:
        """Header of the virtual file."""
        return self._header

    def read_frame(self, index: int, rows: range | None = None) -> InMemoryFrame:
        """Return the reference on its grid."""
        if index != 0:
            raise IndexError(f"{self.name}: a gain reference has no frame {index}")
        return InMemoryFrame(mrc.frame_raw(self.gain.values, self._header))

    def read_trailing(self, size: int, offset: int) -> bytes:
        """Nothing follows the frame."""
        return b""

    def close(self) -> None:
        """Nothing is kept open."""
