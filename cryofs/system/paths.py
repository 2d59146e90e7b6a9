"""Questions about paths that answer with an error of one line, or none at all."""

import errno
import os
from pathlib import Path

from cryofs.error_hints import explain
from cryofs.errors import ArchiveError


def is_file(path: Path) -> bool:
    """Whether a file is there; under a name that is too long there is none."""
    try:
        return path.is_file()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise


def check_archive(folder: Path) -> None:
    """Tell at once that an archive is no folder, or none that this user may list.

    Raises
    ------
    ArchiveError
        It is so.
    """
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise ArchiveError(explain(error, folder)) from error
