"""Choose the cache folder of compiled kernels: next to the source, in the user's cache folder, or a temporary folder.

Numba itself supports only the first two, and fails if neither is writable, for example in a service without a home
directory that uses an installation owned by root.
"""

import os
import stat
import tempfile
from pathlib import Path

_VARIABLE = "NUMBA_CACHE_DIR"


def choose() -> None:
    """Select a temporary folder if numba would not find a writable one; call this before importing numba."""
    if _VARIABLE not in os.environ and not any(map(_writable, folders(__file__))):
        # child processes inherit the variable
        os.environ[_VARIABLE] = str(_temporary())


def folders(source: str) -> tuple[Path, ...]:
    """Return the folders that may contain the compiled code of a source file, in order of preference."""
    if _VARIABLE in os.environ:
        return (Path(os.environ[_VARIABLE]),)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))  # noqa: PTH111 - also works without a home directory
    return Path(source).parent / "__pycache__", cache / "numba"


def _writable(folder: Path) -> bool:
    """Return True if a folder is writable or can be created."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return os.access(existing, os.W_OK | os.X_OK)


def _temporary() -> Path:
    """Return a temporary folder of this user, which other users must not control, because code is loaded from it."""
    folder = Path(tempfile.gettempdir()) / f"cryofs-code-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return Path(tempfile.mkdtemp())
    is_private = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return folder if is_private else Path(tempfile.mkdtemp())
