"""Let a writable mount change archived movies; imports nothing, because a command that mounts must not wait for it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryofs.config.settings import Settings
    from cryofs.ingest.in_mount import MountedMovies
    from cryofs.vfs.changing import MakeArchivedMovies, MountParts


def archived_movies(settings: "Settings") -> "MakeArchivedMovies":
    """Return the function that makes the `ArchivedMovies` of a mount with these settings."""

    def make(parts: "MountParts") -> "MountedMovies":
        from cryofs.ingest.in_mount import MountedMovies

        return MountedMovies(parts, settings)

    return make
