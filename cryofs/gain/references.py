"""Match the gain references of an archive with movies, and add new references."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryofs.errors import CryofsError, GainError
from cryofs.formats.archive_names import (
    EER_GAIN_REFERENCE,
    GAIN_REFERENCE,
    is_reference_name,
    later_eer_reference_name,
    later_reference_name,
)
from cryofs.formats.record import Gain
from cryofs.gain.arithmetic import OpenMovie
from cryofs.gain.estimation import Estimation, FrameRow, Goal, Limits
from cryofs.gain.match import exception_share, matches
from cryofs.gain.samples import Sample, take_samples
from cryofs.gain.scaled import fit, step_of
from cryofs.kernels.from_counts import GainReference
from cryofs.kernels.orientation import UPRIGHT, Orientation
from cryofs.movies import gain_library
from cryofs.movies.gain_library import GainLibrary
from cryofs.movies.source import SourceMovie
from cryofs.storage import checksum_lists
from cryofs.storage.atomic_file import NoHardLinksError, regular_file, write_file

# An estimate ends at this number of frames, so that a movie without a stable estimate does not delay the run.
LIMITS = Limits(1000, goal=Goal.STABLE)
# Share of defects that no detector exceeds.
_DEFECTS_SHARE = 0.01
# Error of two additional roundings, in last bits.
ROUNDED_TWICE = 2.0


@dataclass(frozen=True)
class Reference:
    """A gain reference of the archive, with its entry for records."""

    record: Gain
    gain: GainReference


class References:
    """The gain references of the archive at `root`, including those added in this run."""

    def __init__(self, root: Path):
        self._root = root
        self._library = GainLibrary(root)
        # references that readers find from each folder, by SHA-256
        self._sums: dict[Path, dict[str, Path]] = {}
        # SHA-256 of files that have been read
        self._intact: dict[Path, str] = {}
        self.damaged: list[CryofsError] = []
        self._listed: set[Path] = set()

    @cached_property
    def _known(self) -> list[Reference]:
        """References of the archive, loaded at the first access; damaged files are skipped and listed in `damaged`."""
        known = []
        paths = list(self._library.paths(self._root))
        self._listed = set(paths)
        for path in paths:
            try:
                known.append(self._load(path))
            except CryofsError as error:
                self.damaged.append(error)
        return known

    def reload(self) -> None:
        """Forget the loaded references if another run has written one since."""
        if set(self._library.paths(self._root)) != self._listed:
            self.__dict__.pop("_known", None)
            self.damaged.clear()

    def of_size(self, shape: tuple[int, int]) -> list[Reference]:
        """Return all references with a frame size (ny, nx)."""
        return [one for one in self._known if one.gain.shape == shape]

    def provides(self, folder: Path, needed: Gain) -> bool:
        """Return True if readers find the needed reference for movies in a folder of the archive."""
        path = self._sums.get(folder, {}).get(needed.sha256)
        if path is None:
            # another run may have written it since
            self._sums[folder] = {self._library.sha256(path): path for path in self._library.paths(folder)}
            path = self._sums[folder].get(needed.sha256)
        if path is not None:
            self._intact[path] = needed.sha256
        return path is not None

    def best_match(self, shape: tuple[int, int], samples: list[Sample]) -> Reference | None:
        """Return the reference with the fewest exceptions in the samples, or None if none matches."""
        matching = [one for one in self.of_size(shape) if matches(one.gain, samples)]
        return min(matching, key=lambda one: exception_share(one.gain, samples), default=None)

    def import_file(self, path: Path, orientation: Orientation = UPRIGHT) -> Reference:
        """Copy a gain reference file into the archive, turned to an orientation, and return the reference.

        An equal file that is already in the archive is used instead.

        Raises
        ------
        GainError
            The file is not a valid gain reference.
        """
        given, data = gain_library.load_given(path)
        if orientation != UPRIGHT:
            data = gain_library.reference_file(given.turned(orientation), None)
        sha256 = gain_library.bytes_sha256(data)
        for reference in self._known:
            if reference.record.sha256 == sha256:
                return reference
        return self._store(data)

    def import_folder(self, folder: Path) -> list[Reference]:
        """Copy all gain references of a folder of `cryofs estimate-gain` into the archive, and return them."""
        paths = [path for path in folder.glob("gain-reference*.mrc") if is_reference_name(path.name)]
        if not paths:
            raise GainError(f"{folder}: no gain reference in this folder; run cryofs estimate-gain, or pass a file")
        # the plain name comes first, so that the archive has the same names as the folder
        return [self.import_file(path) for path in sorted(paths, key=lambda path: (len(path.name), path.name))]

    def add(self, reference: GainReference, pixel_size: float | None) -> Reference:
        """Write an estimated reference to the archive, and return it with its entry for records."""
        return self._store(gain_library.reference_file(reference, pixel_size))

    def look_in(self, folder: Path) -> None:
        """Use the references between a folder of the archive and its root too; damaged files are skipped."""
        paths = {path for path in self._library.paths(folder) if path.parent != self._root}
        for path in sorted(paths - self._intact.keys()):
            try:
                self._known.append(self._load(path))
            except CryofsError as error:
                self.damaged.append(error)

    def make_own(self, reference: Reference) -> None:
        """Copy a reference that a user wrote to the name of its content at the root of the archive, durably.

        Records depend on such files, which programs do not overwrite, unlike `gain-reference.mrc`.

        Raises
        ------
        GainError
            The reference changed or is no longer there.
        """
        sha256 = reference.record.sha256
        target = self._root / later_reference_name(sha256)
        for path, known in list(self._intact.items()):
            if known != sha256:
                continue
            try:
                data = path.read_bytes()
            except OSError:
                continue
            if gain_library.bytes_sha256(data) != sha256:
                continue
            if path != target and not gain_library.has_label(data):
                if not _has(target, data):
                    with checksum_lists.replacing(target, sha256):
                        write_file(target, data)
                self._intact[target] = sha256
            return
        raise GainError(f"{self._root / reference.record.name}: changed or removed while it was used; retry")

    def write_eer(self, data: bytes) -> None:
        """Write the gain reference of rendered EER movies, under a longer name if the plain one is taken."""
        self._write(data, EER_GAIN_REFERENCE, later_eer_reference_name)

    def record_checksums(self) -> None:
        """Add the references written or used in this run to the checksum lists."""
        for path, sha256 in self._intact.items():
            if checksum_lists.recorded(path) is None:
                checksum_lists.update(path.parent, {path.name: sha256})

    def _store(self, data: bytes) -> Reference:
        reference = self._load(self._write(data, GAIN_REFERENCE, later_reference_name))
        self._known.append(reference)
        return reference

    def _write(self, data: bytes, first: str, later: Callable[[str], str]) -> Path:
        """Write a reference under the first free name, unless an equal file exists; return the path.

        Concurrent runs may write references at the same time. Without hard links, which give a free name to one of
        them only, the name contains the checksum.
        """
        target, sha256 = self._root / first, gain_library.bytes_sha256(data)
        try:
            if not _has(target, data):
                with checksum_lists.replacing(target, sha256):
                    write_file(target, data, new=True)
        except (FileExistsError, NoHardLinksError):
            if not _has(target, data):
                target = self._root / later(sha256)
                # the name contains the checksum, so a file with other content is damaged and is replaced
                if not _has(target, data):
                    with checksum_lists.replacing(target, sha256):
                        write_file(target, data)
        self._intact[target] = sha256
        return target

    def _load(self, path: Path) -> Reference:
        try:
            reference = gain_library.load_reference(path)
            self._intact[path] = self._library.sha256(path)
            return Reference(Gain(self._intact[path], path.name, reference.arithmetic.value), reference)
        except OSError as error:
            raise GainError(
                f"{path}: cannot read the gain reference ({error.strerror}); check permissions and disk"
            ) from error


def _has(target: Path, data: bytes) -> bool:
    """Return True if a path is a regular file with these bytes."""
    return regular_file(target) is not None and target.read_bytes() == data


def best_scaled_match(movie: SourceMovie, among: Sequence[Reference]) -> Reference | None:
    """Return the reference for a movie of scaled counts, with scale and rounding, or None if none matches."""
    if not among or (step := step_of(movie)) is None:
        return None
    fits = [(fit(one.gain.gain, take_samples(movie), step), one) for one in among]
    found, one = min(fits, key=lambda pair: pair[0].exceptions)
    return Reference(found.recorded(one.record), found.reference) if found.matches else None


def estimate_from(
    movies: Sequence[Path],
    open_movie: OpenMovie,
    pool: Executor,
    on_row: Callable[[FrameRow], None],
) -> Estimation | None:
    """Estimate the gain of the first movie from all movies with this gain; all frames must have the same size.

    Movies with another gain are skipped. If too many pixels have no common gain, their values may have been rounded
    more than once, so a second estimate uses a tolerance.

    Returns
    -------
    Estimation or None
        The estimate, or None if the values of the first movie have no common gain.
    """
    return or_rounded_twice(_estimate(movies, 0, open_movie, pool, on_row), movies, open_movie, pool, on_row)


def or_rounded_twice(
    exact: Estimation | None,
    movies: Sequence[Path],
    open_movie: OpenMovie,
    pool: Executor,
    on_row: Callable[[FrameRow], None],
) -> Estimation | None:
    """Return an exact estimate, or one with a tolerance if that has fewer pixels without a gain.

    The second estimate is made only if the exact one lacks the gain of more pixels than a detector has defects; see
    `estimate_from` for the parameters.
    """
    if exact is not None and exact.estimate.share_without_gain <= _DEFECTS_SHARE:
        return exact
    rounded = _estimate(movies, ROUNDED_TWICE, open_movie, pool, on_row)
    found = [estimation for estimation in (exact, rounded) if estimation is not None]
    return min(found, key=lambda estimation: estimation.estimate.share_without_gain, default=None)


def _estimate(
    movies: Sequence[Path],
    tolerance: float,
    open_movie: OpenMovie,
    pool: Executor,
    on_row: Callable[[FrameRow], None],
) -> Estimation | None:
    estimation: Estimation | None = None
    for path in movies:
        try:
            with open_movie(path) as movie:
                if estimation is None:
                    estimation = Estimation.for_movie(movie, tolerance=tolerance)
                elif not matches(GainReference(estimation.estimate.reference()), take_samples(movie)):
                    continue
                for row in estimation.add_movie(movie, pool, LIMITS):
                    on_row(row)
        except (CryofsError, OSError):
            continue  # the error is reported when the movie is archived
        if estimation.lacks_common_gain():
            return None
        if estimation.stable:
            break
    return estimation
