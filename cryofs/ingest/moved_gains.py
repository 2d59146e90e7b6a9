"""Keep the gain references of archived movies findable when the movies, or the folders in which they are, are renamed.

References are searched from the folder of a movie upwards. One that would not be found any more is copied to the root
of the archive first, under the name of its content.
"""

from pathlib import Path

from cryofs.error_hints import explain
from cryofs.errors import DamagedError, GainError
from cryofs.formats.archive_names import archived_path, later_reference_name
from cryofs.formats.record import Gain, read_record
from cryofs.movies import registry
from cryofs.movies.gain_library import GainLibrary, bytes_sha256
from cryofs.storage.atomic_file import write_file
from cryofs.storage.byte_source import LocalFile
from cryofs.storage.checksum_lists import replacing
from cryofs.storage.folders import folders_of


class MovedGains:
    """The gain references of the archive at `root`. Methods raise GainError if a reference cannot be copied."""

    def __init__(self, root: Path, gains: GainLibrary):
        self._root = root
        self._gains = gains

    def provide(self, place: Path, folder: Path) -> None:
        """Make the gain reference of an archived movie findable from a folder of the archive, durably."""
        gain = _gain_of(archived_path(place))
        if gain is None or place.parent == folder or self._find(gain, folder) is not None:
            return
        found = self._find(gain, place.parent)
        if found is not None:  # otherwise missing already; reading the movie reports it
            self._copy(found, gain.sha256)

    def provide_all(self, moved: Path, folder: Path) -> None:
        """Make the gain references of archived movies below `moved` findable after its rename into a folder, durably.

        Those below `moved` move with it.
        """
        kept = self._references(folder)
        lost = {sha256: path for sha256, path in self._references(moved.parent).items() if sha256 not in kept}
        for place, names in folders_of(moved) if lost else []:
            for name in filter(registry.may_have_record, names):
                gain = _gain_of(place / name)
                if gain is not None and gain.sha256 in lost and self._find(gain, place) == lost[gain.sha256]:
                    self._copy(lost.pop(gain.sha256), gain.sha256)

    def _copy(self, found: Path, sha256: str) -> None:
        try:
            data = found.read_bytes()
            if bytes_sha256(data) == sha256:
                copy = self._root / later_reference_name(sha256)
                with replacing(copy, sha256):
                    write_file(copy, data)
                return
        except OSError as error:
            raise GainError(f"{found.name}: not copied to the root of the archive ({explain(error)})") from error
        raise GainError(f"{found.name}: changed while it was copied; retry")

    def _references(self, folder: Path) -> dict[str, Path]:
        """Return the gain references that movies in a folder find, by their SHA-256."""
        return {self._gains.sha256(path): path for path in reversed(self._gains.paths(folder))}

    def _find(self, gain: Gain, folder: Path) -> Path | None:
        """Return the gain reference that movies in a folder find, or None."""
        return next((path for path in self._gains.paths(folder) if self._gains.sha256(path) == gain.sha256), None)


def _gain_of(archived: Path) -> Gain | None:
    """Return the gain reference of an archived movie; None if there is none, or the record is damaged."""
    try:
        with LocalFile.open(archived) as source:
            return read_record(source).gain
    except DamagedError:
        return None
