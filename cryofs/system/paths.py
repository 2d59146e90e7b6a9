"""Checks of paths that users pass, with one-line errors."""

import errno
import os
from pathlib import Path

from cryofs.error_hints import explain
from cryofs.errors import ArchiveError

# Maximum number of bytes in a file name on Linux.
LONGEST_NAME = 255
FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def is_file(path: Path) -> bool:
    """Return True if a path is a regular file; return False for a name that is too long."""
    try:
        return path.is_file()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise


def check_archive(folder: Path) -> None:
    """Check that an archive is a folder that the current user can list.

    Raises
    ------
    ArchiveError
        The path is not a folder, or the user lacks permission to list it.
    """
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise ArchiveError(explain(error, folder)) from error
