"""Let a writable mount change archived movies; imports late, because a command that mounts must not wait for it."""

from pathlib import Path
from typing import TYPE_CHECKING

from cryofs.config.choices import GAIN_WORDS

if TYPE_CHECKING:
    from cryofs.config.settings import Settings
    from cryofs.ingest.in_mount import MountedMovies
    from cryofs.vfs.changing import MakeArchivedMovies, MountParts


def archived_movies(settings: "Settings") -> "MakeArchivedMovies":
    """Return the function that makes the `ArchivedMovies` of a writable mount with these settings.

    Raises
    ------
    GainError
        The gain reference of the settings is not valid.
    """
    if settings.gain not in GAIN_WORDS:
        from cryofs.movies.gain_library import load_given

        load_given(Path(settings.gain))

    def make(parts: "MountParts") -> "MountedMovies":
        from cryofs.ingest.in_mount import MountedMovies

        return MountedMovies(parts, settings)

    return make
