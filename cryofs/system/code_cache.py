"""Store compiled code in files: beside the source, in the user's cache folder, or in a temporary folder.

Whoever owns an installation compiles once for all users (`cryofs warm`): the others read the code beside the source.
Code is used only if its checksum matches; a file that a killed process or a full disk left incomplete is removed. If no
folder is writable, code is kept in memory only.

The names of files must identify everything that determines the code: source, libraries, processor.
"""

import contextlib
import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cryofs.system.notices import notice

# A folder that is used instead of all others, as by numba.
VARIABLE = "NUMBA_CACHE_DIR"
# Settings of numba that do not change code.
HARMLESS = {VARIABLE, "NUMBA_NUM_THREADS"}

_SUM_BYTES = 32
_ROOT = 0
_FULL = (errno.ENOSPC, errno.EDQUOT)


def folders(source: Path) -> Iterator[Path]:
    """Yield the folders that may contain the code of a source file, in order of preference; they may not exist."""
    if VARIABLE in os.environ:
        yield _below(Path(os.environ[VARIABLE]), source)
        return
    yield beside(source)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))  # noqa: PTH111 - without a home too
    if cache.is_absolute() and _is_own(cache):
        yield _below(cache / "numba", source)
    # without a temporary folder, as in a read-only container
    with contextlib.suppress(OSError):
        temporary = Path(tempfile.gettempdir()) / f"cryofs-code-{os.getuid()}"
        temporary.mkdir(mode=0o700, exist_ok=True)
        # everyone may make a folder or a link of this name
        found = temporary.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
            yield _below(temporary, source)


def beside(source: Path) -> Path:
    """Return the folder of code that all users of an installation share."""
    return source.parent / "__pycache__"


def load(name: str, source: Path) -> bytes | None:
    """Return the code in the file with a name, or None if no folder contains an intact file."""
    for folder in folders(source):
        with contextlib.suppress(OSError):
            data = (folder / name).read_bytes()
            if hashlib.sha256(data[_SUM_BYTES:]).digest() == data[:_SUM_BYTES]:
                return data[_SUM_BYTES:]
            (folder / name).unlink()
    return None


def store(name: str, source: Path, code: bytes) -> Path | None:
    """Write code to a file in the first folder where that is possible; return the folder, or None without one."""
    refused = []
    for folder in folders(source):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write(folder / name, source, code)
        except OSError as error:
            if error.errno in _FULL:
                text = f"{folder}: {error.strerror}, so compiled code is not stored there"
                notice("full cache", f"{text}; free some space in this folder")
            refused.append(folder)
        else:
            return folder
    places = ", ".join(map(str, refused))
    text = f"{places}: not writable, so each run compiles code again, which takes about 20 s; set {VARIABLE}"
    notice("no cache", f"{text} to a writable folder, or run cryofs warm as the owner of the installation")
    return None


def _write(path: Path, source: Path, code: bytes) -> None:
    descriptor, draft = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(hashlib.sha256(code).digest() + code)
            # every user who may read the source may load its code
            os.fchmod(file.fileno(), source.stat().st_mode & 0o644 | 0o600)
        # another process may load the file at any moment
        Path(draft).replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            Path(draft).unlink()
        raise


def _below(folder: Path, source: Path) -> Path:
    """Return the folder for the code of a source file below a common folder, with numba's name."""
    place = os.path.abspath(source.parent)  # noqa: PTH100 - as numba does
    return folder / f"{source.parent.name}_{hashlib.sha1(place.encode(), usedforsecurity=False).hexdigest()}"


def _is_own(folder: Path) -> bool:
    """Return True if no other user than root owns a folder, or the part of its path that exists."""
    existing = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    try:
        found = existing.stat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid in (os.getuid(), _ROOT)
