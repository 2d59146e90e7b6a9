"""Gain references on disk, searched by checksum from a movie's folder upwards, and loaded once for all movies.

Thread safety: a `GainLibrary` may be shared. Its lock protects the tables and is not held during reads.
"""

import contextlib
import hashlib
import stat
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryofs.error_hints import reason_of
from cryofs.errors import CryofsError, DamagedError, FormatError, GainError
from cryofs.formats import mrc
from cryofs.formats.archive_names import GAIN_REFERENCE, is_reference_name
from cryofs.formats.record import Gain, Rounding
from cryofs.kernels.from_counts import Arithmetic, GainReference
from cryofs.movies import gain_kinds
from cryofs.movies.mrc import MrcMovie
from cryofs.storage.byte_source import ByteSource, LocalFile
from cryofs.storage.checksums import file_sha256
from cryofs.storage.file_state import FileState, is_still, state_of

# Larger than a frame of the largest cameras.
_MAX_DETAIL = 1 << 30
# Type of the extended header of a reference whose arithmetic is not SINGLE: the detail, as little-endian float32.
_EXTENDED_TYPES = {Arithmetic.DOUBLE: "CFGD", Arithmetic.RECIPROCAL: "CFGR"}
# Arithmetic of integer values by the rounding in a record.
ROUNDINGS: dict[Rounding, Arithmetic] = {
    "even": Arithmetic.ROUNDED,
    "up": Arithmetic.ROUNDED_UP,
    "down": Arithmetic.TRUNCATED,
}
# Prefix of the first label of an estimated reference, and the offset of that label.
_LABEL = "cryofs gain reference"
_LABEL_PLACE = 224

# Number of agreeing values that RELION's converter requires by default before it uses the gain of a pixel.
_RELION_THRESH = 50


def load_reference(path: Path) -> GainReference:
    """Return the gain reference in an MRC file (float32, shape (ny, nx)), which is to be multiplied with counts.

    Raises
    ------
    GainError
        The file is not an MRC file with one float32 frame.
    """
    with _reading(path) as movie:
        gain = np.ascontiguousarray(movie.frame(0), np.float32)
        for arithmetic, extended_type in _EXTENDED_TYPES.items():
            if movie.mrc_header.extended_type == extended_type:
                return GainReference(gain, arithmetic, _detail(movie))
        return GainReference(gain)


def reference_shape(path: Path) -> tuple[int, int]:
    """Return the rows and columns of a gain reference from its header; raise the errors of `load_reference`."""
    with _reading(path) as movie:
        return movie.shape[1:]


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[MrcMovie]:
    try:
        with MrcMovie(path, max_extended_header=_MAX_DETAIL) as movie:
            if movie.shape[0] != 1 or movie.mrc_header.mode != mrc.MODE_FLOAT32:
                problem = "not a gain reference (expected one frame of mode 2, float32)"
                raise GainError(f"{path}: {problem}; pass another file")
            yield movie
    except FormatError as error:
        gain_kinds.check_mrc(path)
        raise GainError(f"{path}: not a valid gain reference ({reason_of(error, path)}); pass another file") from error
    except OSError as error:
        raise GainError(f"{path}: cannot read the gain reference ({error.strerror}); pass another file") from error


def load_given(path: Path) -> tuple[GainReference, bytes]:
    """Return a gain reference that the user passed, and the bytes of the file to store in the archive.

    RELION's converter writes a reliability map beside its estimate (`gain_estimate.bin`,
    `gain_estimate_reliablity.bin`). Pixels that this map marks as unreliable get gain 1, as in RELION. A reference that
    cryofs wrote needs no map.

    Raises
    ------
    GainError
        The reference or its map is not valid.
    """
    reference, data = load_reference(path), path.read_bytes()
    if not (np.isfinite(reference.gain) & (reference.gain > 0)).any():
        raise GainError(f"{path}: the gain reference has no positive value; pass another file, or auto")
    map_path = relion_reliability_path(path)
    if _LABEL.encode() in data[: mrc.MAIN_HEADER_BYTES] or not map_path.is_file():
        return reference, data
    usable = _reliable(map_path, reference.shape)
    if (usable | (reference.gain == 1)).all():
        return reference, data
    masked = GainReference(np.where(usable, reference.gain, np.float32(1)))
    return masked, reference_file(masked, None)


def _reliable(map_path: Path, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a mask of the reliable pixels (bool, shape (ny, nx)) from a reliability map of RELION.

    By default RELION requires 50 agreeing values. If most pixels have fewer, because few frames were read, one is
    enough, because compress checks each value.
    """
    try:
        with MrcMovie(map_path) as movie:
            if movie.shape != (1, *shape):
                ny, nx = shape
                raise GainError(
                    f"{map_path}: does not fit the gain reference (expected one frame of {ny} x {nx}); "
                    "remove or replace it"
                )
            reliability = movie.frame(0)
    except FormatError as error:
        raise GainError(f"{error}; remove or replace this reliability map") from error
    except OSError as error:
        text = f"{map_path}: cannot read the reliability map ({error.strerror}); remove or replace it"
        raise GainError(text) from error
    reliable: NDArray[np.bool_] = reliability >= _RELION_THRESH
    return reliable if np.count_nonzero(reliable) > 0.5 * reliable.size else reliability >= 1


def relion_reliability_path(reference: Path) -> Path:
    """Return the path of the reliability map of RELION's converter (in RELION's spelling)."""
    return reference.with_name(f"{reference.stem}_reliablity{reference.suffix}")


def reference_file(reference: GainReference, pixel_size: float | None) -> bytes:
    """Return the bytes of an MRC file with the gain reference as its only frame; `pixel_size` is in angstrom."""
    header = mrc.new_header((1, *reference.shape), 2, pixel_size, f"{_LABEL}, to be multiplied with counts")
    if reference.detail is not None:
        detail = reference.detail.astype("<f4").tobytes()
        header = mrc.with_extended_header(header, _EXTENDED_TYPES[reference.arithmetic], detail)
    return header + reference.gain.astype("<f4").tobytes()


def is_estimated(source: ByteSource) -> bool:
    """Return True if the label in the header marks a gain reference as estimated by cryofs."""
    return source.read(len(_LABEL), _LABEL_PLACE) == _LABEL.encode()


def has_label(data: bytes) -> bool:
    """Return True if these are the bytes of a gain reference that cryofs estimated, as `is_estimated` does."""
    return data.startswith(_LABEL.encode(), _LABEL_PLACE)


def _detail(movie: MrcMovie) -> NDArray[np.float32]:
    detail = movie.header[mrc.MAIN_HEADER_BYTES :]
    if len(detail) != movie.layout.frame_bytes:
        raise FormatError(
            f"{movie.name}: invalid extended header ({len(detail)} bytes, expected {movie.layout.frame_bytes})"
        )
    return np.frombuffer(detail, "<f4").astype(np.float32).reshape(movie.shape[1:])


def bytes_sha256(data: bytes) -> str:
    """Return the SHA-256 of the bytes of a reference file that has not been written yet."""
    return hashlib.sha256(data).hexdigest()


def reference_sha256(path: Path) -> str:
    """Return the SHA-256 of a gain reference file."""
    with LocalFile.open(path) as source:
        return file_sha256(source)


class GainLibrary:
    """The gain references of an archive, by the SHA-256 of their files.

    Parameters
    ----------
    root : Path or None
        Folder at which the search upwards ends; None for the root of the file system.
    """

    def __init__(self, root: Path | None = None):
        self._root = root
        self._lock = threading.Lock()
        self._sums: dict[Path, tuple[FileState, str]] = {}
        self._loaded: weakref.WeakValueDictionary[str, GainReference] = weakref.WeakValueDictionary()
        # by SHA-256: the file of a loaded reference, and its state when it was read
        self._origins: dict[str, tuple[Path, FileState]] = {}
        # keeps the reference of the last movie in memory until the next one is opened
        self._recent: GainReference | None = None

    def paths(self, folder: Path) -> list[Path]:
        """Return the gain reference files for movies of a folder, the nearest first; links are skipped."""
        found = []
        for place in (folder, *folder.parents):
            found += sorted(path for path in place.glob("gain-reference*.mrc") if _is_reference(path))
            if place == self._root:
                break
        return found

    def beside(self, folder: Path) -> Path | None:
        """Return the nearest `gain-reference.mrc` for counts of another program; skip those that cryofs estimated."""
        for path in (one for one in self.paths(folder) if one.name == GAIN_REFERENCE):
            try:
                with LocalFile.open(path) as source:
                    is_own = is_estimated(source)
            except (CryofsError, OSError):
                is_own = False  # reading it raises the error
            if not is_own:
                return path
        return None

    def get(self, sha256: str, folder: Path, name: str) -> GainReference:
        """Return the gain reference with this SHA-256 for a movie called `name` in `folder`.

        A reference in memory is used only while its file is unchanged, so that a replaced file is reported immediately
        and not only by a later mount.

        Raises
        ------
        GainError
            No reference in the folder or above has this content.
        """
        with self._lock:
            gain, origin = self._loaded.get(sha256), self._origins.get(sha256)
        if gain is not None and origin is not None and is_still(*origin):
            return gain
        for path in self.paths(folder):
            try:
                state = state_of(path.stat())
                if self.sha256(path) != sha256:
                    continue
                gain = load_reference(path)
            except (CryofsError, OSError):
                continue  # a damaged reference may have an intact copy further up
            if not is_still(path, state):
                continue  # the file changed between its checksum and the load
            with self._lock:
                self._loaded[sha256] = self._recent = gain
                self._origins[sha256] = path, state
            return gain
        raise GainError(
            f"{name}: its gain reference (sha256 {sha256[:8]}...) is missing or changed; "
            f"restore the right {GAIN_REFERENCE} in the archive"
        )

    def of_movie(self, wanted: Gain, shape: tuple[int, int], folder: Path, name: str) -> GainReference:
        """Return the gain reference of a record, with the scale and rounding of the movie called `name` in `folder`.

        Raises
        ------
        GainError
            No file from the folder upwards has the recorded content.
        DamagedError
            Its size is not that of the frames.
        """
        reference = self.get(wanted.sha256, folder, name)
        if reference.shape != shape:
            raise DamagedError(f"wrong size of the gain reference (expected {shape}, got {reference.shape})")
        return reference if wanted.rounding is None else reference.scaled(ROUNDINGS[wanted.rounding], wanted.scale)

    def preload(self, folder: Path) -> None:
        """Load the nearest valid reference of a folder, if any, so that readers do not wait for it."""
        with contextlib.suppress(CryofsError, OSError):
            for path in self.paths(folder)[:1]:
                self.get(self.sha256(path), folder, str(path))

    def sha256(self, path: Path) -> str:
        """Return the SHA-256 of a reference file, computed once for each version of the file."""
        state = state_of(path.stat())
        with self._lock:
            known = self._sums.get(path)
        if known and known[0] == state:
            return known[1]
        digest = reference_sha256(path)
        with self._lock:
            self._sums[path] = (state, digest)
        return digest


def _is_reference(path: Path) -> bool:
    """Return True for a regular file, not a link, which could lead out of the archive or to a device."""
    if not is_reference_name(path.name):
        return False
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False  # removed after the folder was listed
