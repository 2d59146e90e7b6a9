"""The exceptions of cryofs. Each message names the file, the frame where there is one, and the remedy.

No errno stands here: `cryofs.fuse` alone knows how an exception looks to the kernel.
"""

from typing import Any


class CryofsError(Exception):
    """Everything that cryofs raises on purpose.

    Attributes
    ----------
    facts : dict
        What a log tells of the event besides the message: file, frame, seconds.
    """

    def __init__(self, *arguments: object):
        super().__init__(*arguments)
        self.facts: dict[str, Any] = {}


class FormatError(CryofsError, ValueError):
    """A file is not of the format it claims, is truncated, or declares absurd sizes."""


class UnsupportedError(FormatError):
    """An intact file of a kind that cryofs does not read."""


class DamagedError(CryofsError):
    """An archived movie does not give back the original bytes that its record promises."""


class GainError(CryofsError):
    """A gain reference is missing, wrong, or of another size than the movie."""


class ChangedError(CryofsError):
    """A file changed while it was open or being archived."""


class StuckError(CryofsError, TimeoutError):
    """The storage below an archive gave no answer in time."""


class ArchiveError(CryofsError):
    """A file could not be put into the archive, or taken out of it."""


class NotSmallerError(ArchiveError):
    """A movie would take nearly as much space in the archive as its original does."""


class FullDiskError(ArchiveError):
    """The storage of the archive has no space left."""


class SettingsError(CryofsError, ValueError):
    """An option or a line of cryofs.toml has no usable value."""


class UsageError(SettingsError):
    """There is no such option, or it cannot be had with the others."""


class MountError(CryofsError):
    """A mount could not be made or removed."""


class DependencyError(CryofsError, ImportError):
    """An optional library is not installed."""
