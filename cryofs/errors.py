"""Exceptions of cryofs. Each message names the file, the frame if applicable, and the fix.

The exceptions have no errno; only `cryofs.fuse` maps them to errno values for the kernel.
"""

from typing import Any


class CryofsError(Exception):
    """Base class of all exceptions that cryofs raises deliberately.

    Attributes
    ----------
    facts : dict
        Additional fields of a structured log entry: file, frame, seconds.
    """

    def __init__(self, *arguments: object):
        super().__init__(*arguments)
        self.facts: dict[str, Any] = {}


class FormatError(CryofsError, ValueError):
    """A file is truncated, declares invalid sizes, or does not have the expected format."""


class TruncatedError(FormatError):
    """A file is shorter than its header specifies."""


class UnsupportedError(FormatError):
    """A file is valid, but cryofs cannot read its type."""


class DamagedError(CryofsError):
    """An archived movie does not reproduce the original bytes."""


class GainError(CryofsError):
    """A gain reference is missing or invalid, or its size does not match the movie."""


class NoReferenceError(GainError):
    """No gain reference of the archive fits a movie of floating-point values, so it has to wait."""


class ChangedError(CryofsError):
    """A file changed while it was open or being archived."""


class StuckError(CryofsError, TimeoutError):
    """The storage of an archive did not respond in time."""


class ArchiveError(CryofsError):
    """A file could not be archived or extracted."""


class NotSmallerError(ArchiveError):
    """A movie would save too little space in the archive."""


class FullDiskError(ArchiveError):
    """The storage of the archive is full."""


class SettingsError(CryofsError, ValueError):
    """An option or a line of cryofs.toml is invalid."""


class UsageError(SettingsError):
    """An option is unknown, invalid, or in conflict with another one."""


class MountError(CryofsError):
    """A mount could not be created or removed."""


class DependencyError(CryofsError, ImportError):
    """An optional library is not installed."""
