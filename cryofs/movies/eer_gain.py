"""Gain references of EER movies, converted from two conventions to factors for MRC movies.

As in RELION, counts are multiplied with the values of a `.gain` file, which is a TIFF file, and divided by those of any
other file. The user can override this convention. The contents of a file, not its name, determine how it is read.
Values that are not valid gains are reported and treated as defects.

Thread safety: an `EerGains` may be shared; references are loaded one at a time.
"""

import logging
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryofs.config.choices import EerGainConvention
from cryofs.errors import ChangedError, CryofsError, GainError
from cryofs.formats import mrc
from cryofs.formats.mrc import Layout, MrcHeader
from cryofs.kernels import eer_gain
from cryofs.kernels.defect_fill import DefectFill
from cryofs.kernels.orientation import UPRIGHT, Orientation
from cryofs.movies import eer_gain_use, gain_kinds
from cryofs.movies.eer_gain_use import convention_of, is_tiff, read_tiff
from cryofs.movies.gain_library import load_reference
from cryofs.movies.movie import InMemoryFrame, Movie
from cryofs.storage.checksums import xxh3_checksum
from cryofs.storage.file_state import FileState, state_of

_DESCRIPTORS = Path("/proc/self/fd")
# Number of defects whose positions are listed.
_LISTED = 10

log = logging.getLogger("cryofs")


@dataclass(frozen=True, eq=False)
class EerGain:
    """Gain factors for counts (float32, shape (ny, nx), rows in the order of the EER file) and the file's identity."""

    values: NDArray[np.float32]
    state: FileState
    _fills: dict[int, DefectFill] = field(default_factory=dict)

    def defects(self, upsampling: int) -> DefectFill:
        """Return the defects on the grid of an upsampling, and the good pixels that fill them."""
        if upsampling not in self._fills:
            self._fills[upsampling] = DefectFill.of(self.values, upsampling)
        return self._fills[upsampling]

    @cached_property
    def checksum(self) -> str:
        """XXH3-128 of the factors."""
        return xxh3_checksum(self.values)


class EerGains:
    """Cache of gain references of EER movies; each is loaded once per grid while it is in use.

    Parameters
    ----------
    orientation : Orientation
        Orientation applied to all references.

    Attributes
    ----------
    report : callable
        Called with a line of text about the defects of a reference, once for each version of its file.
    inform : callable
        Called with a line of text about its convention and grid, once for each version of its file.
    """

    def __init__(self, orientation: Orientation = UPRIGHT) -> None:
        self._orientation = orientation
        self.report: Callable[[str], None] = log.warning
        self.inform: Callable[[str], None] = log.info
        self._reported: dict[Path, FileState] = {}
        self._loading = threading.Lock()
        self._loaded: weakref.WeakValueDictionary[tuple[Path, FileState, tuple[int, int], str], EerGain]
        self._loaded = weakref.WeakValueDictionary()
        # keeps the last reference in memory until the next movie is opened
        self._recent: EerGain | None = None

    def get(self, path: Path, shape: tuple[int, int], convention: EerGainConvention | None = None) -> EerGain:
        """Return the gain factors for counts of this shape (ny, nx).

        Parameters
        ----------
        convention : str or None
            Convention of the file; None to infer it from the name.

        Raises
        ------
        GainError
            The file cannot be read, or its sides are not 1/4, 1/2, 1, 2 or 4 times those of the image.
        ChangedError
            The file was written to while it was read.
        """
        state, chosen = _state(path), convention_of(path, convention)
        # threads that wait for this lock usually need the reference that is being loaded
        with self._loading:
            if (known := self._loaded.get((path, state, shape, chosen))) is not None:
                return known
            stored = _load(path, chosen)
            turned = self._orientation.turned(stored)
            gain = EerGain(_on_grid(path, turned, shape, chosen), state)
            if _state(path) != state:
                raise ChangedError(f"{_name(path)}: changed while it was read; retry once the file is complete")
            self._loaded[path, state, shape, chosen] = self._recent = gain
            if self._reported.get(path) != state:
                self._reported[path] = state
                self.inform(eer_gain_use.use_text(_name(path), convention, chosen, turned.shape, shape))
                if warning := eer_gain_use.contradiction(path, _name(path), convention):
                    self.report(warning)
                if defects := _defects_text(path, stored):
                    self.report(defects)
            return gain


def check_fit(
    path: Path, convention: EerGainConvention | None, shape: tuple[int, int], orientation: Orientation = UPRIGHT
) -> list[str]:
    """Return lines of text about the use of a gain reference for images of this shape (ny, nx), with any contradiction.

    Raises
    ------
    GainError
        The file cannot be read, or its size does not fit the image.
    """
    chosen = convention_of(path, convention)
    stored = orientation.turned(_load(path, chosen))
    try:
        eer_gain.check_ratio(stored.shape, shape)
    except ValueError as error:
        raise GainError(f"{_name(path)}: {error}; pass the gain reference of this detector") from error
    lines = [eer_gain_use.use_text(_name(path), convention, chosen, stored.shape, shape)]
    warning = eer_gain_use.contradiction(path, _name(path), convention)
    return [*lines, warning] if warning else lines


def defects_of(path: Path, convention: EerGainConvention | None = None) -> str:
    """Return one line of text that lists the defects of a gain reference, or an empty string.

    Raises
    ------
    GainError
        The file cannot be read, or has no valid gain.
    """
    return _defects_text(path, _load(path, convention_of(path, convention)))


def _state(path: Path) -> FileState:
    try:
        return state_of(path.stat())
    except OSError as error:
        text = f"{_name(path)}: cannot read the gain reference ({error.strerror}); pass another file"
        raise GainError(text) from error


def _load(path: Path, convention: EerGainConvention) -> NDArray[np.float32]:
    """Return a reference (float32, shape (ny, nx)), rows in the order of the EER file, with NaN for each defect."""
    gain_kinds.check_eer(path, _name(path))
    try:
        stored = read_tiff(path, convention) if is_tiff(path) else load_reference(path).gain
    except GainError:
        raise
    except (ValueError, CryofsError, OSError) as error:
        raise GainError(f"{_name(path)}: {error}; pass the gain reference of this detector") from error
    gain = eer_gain.mark_defects(stored, divided=convention == "divide")
    if not (gain > 0).any():
        problem = "no valid gain (expected at least one finite value above 0)"
        raise GainError(f"{_name(path)}: {problem}; pass the gain reference of this detector")
    return gain


def _on_grid(
    path: Path, gain: NDArray[np.float32], shape: tuple[int, int], convention: EerGainConvention
) -> NDArray[np.float32]:
    try:
        return eer_gain.to_multiply(eer_gain.resample(gain, shape), divided=convention == "divide")
    except ValueError as error:
        raise GainError(f"{_name(path)}: {error}; pass the gain reference of this detector") from error


def _name(path: Path) -> str:
    """Return the path of a file for messages, with a leading descriptor of the archive replaced by its path."""
    above, below = path.parts[:5], path.parts[5:]
    if above[:-1] == _DESCRIPTORS.parts and below:
        return str(Path(*above).readlink().joinpath(*below))
    return str(path)


def _defects_text(path: Path, gain: NDArray[np.float32]) -> str:
    places = np.argwhere(np.isnan(gain))
    if not len(places):
        return ""
    listed = ", ".join(f"row {row} column {column}" for row, column in places[:_LISTED].tolist())
    more = f", and {len(places) - _LISTED} more" if len(places) > _LISTED else ""
    pixels, defects = ("1 pixel", "a defect") if len(places) == 1 else (f"{len(places)} pixels", "defects")
    return (
        f"{_name(path)}: {pixels} without a valid gain (NaN, infinite, negative or too small to divide by), "
        f"counted as {defects}: {listed}{more}"
    )


class EerGainMovie(Movie):
    """A gain reference on the grid of the fractions, as a one-frame MRC file to multiply them with.

    Raises
    ------
    GainError, ChangedError
        See `EerGains.get`.
    """

    def __init__(self, path: Path, header: MrcHeader, gains: EerGains, convention: EerGainConvention | None = None):
        self.name = str(path)
        self.gain = gains.get(path, (header.ny, header.nx), convention)
        self._header = header
        self.layout = Layout.of(header)
        self.identity = *self.gain.state, "EER gain", self._header.shape, convention

    @property
    def mrc_header(self) -> MrcHeader:
        """Header of the virtual file."""
        return self._header

    def read_frame(self, index: int, rows: range | None = None) -> InMemoryFrame:
        """Return the reference, which is frame 0."""
        if index != 0:
            raise IndexError(f"{self.name}: no frame {index} (expected 0, the only frame)")
        return InMemoryFrame(mrc.frame_raw(self.gain.values, self._header))

    def read_trailing(self, size: int, offset: int) -> bytes:
        """Return no bytes, because the virtual file ends with its frame."""
        return b""

    def close(self) -> None:
        """Do nothing, because no file is kept open."""
