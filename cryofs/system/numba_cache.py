"""Where compiled code is kept: beside the source or in the user's cache folder, or else in a temporary folder.

Numba knows the first two and fails where it may write to neither: in an installation of root, for a service without a
home.
"""

import os
import stat
import tempfile
from pathlib import Path

_VARIABLE = "NUMBA_CACHE_DIR"


def choose() -> None:
    """Name a temporary folder to numba where it would find no other; to be called before it is imported."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))  # noqa: PTH111 - without a home too
    usual = (Path(__file__).parent / "__pycache__", cache / "numba")
    if _VARIABLE not in os.environ and not any(map(_writable, usual)):
        # processes that are started inherit it
        os.environ[_VARIABLE] = str(_temporary())


def _writable(folder: Path) -> bool:
    """Whether a folder can be written, or made."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return os.access(there, os.W_OK | os.X_OK)


def _temporary() -> Path:
    """The folder of this user; code is loaded from it, so nobody else may have made it."""
    folder = Path(tempfile.gettempdir()) / f"cryofs-code-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return Path(tempfile.mkdtemp())
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return folder if ours else Path(tempfile.mkdtemp())
