"""A session with its archive, and mounts of it."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulate import header
from cryofs.fuse.control import is_mounted
from tests.support import archive, mounted, movie_values, run_in_process, simulated


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a session folder and its archive."""
    folder = tmp_path_factory.mktemp("mounted") / "session"
    for number in range(2):
        simulated(folder / "Movies" / f"{number}.mrc", frames=20, seed=number)
    special = movie_values(seed=5)
    special[0, 0, :4] = [np.nan, -0.0, np.inf, -1]
    tail = os.urandom(5000)
    data = header(special.shape, 2, byte_order=">", extended=os.urandom(4096), kind=b"FEI1")  # type: ignore[arg-type]
    (folder / "special.mrcs").write_bytes(data + special.astype(">f4").tobytes() + tail)
    (folder / "spaces and ümlauts.mrc").write_bytes((folder / "Movies" / "0.mrc").read_bytes())
    (folder / "notes.txt").write_text("300 kV")
    (folder / "empty").write_bytes(b"")
    (folder / "link").symlink_to("Movies/0.mrc")
    (folder / "notes.txt").chmod(0o640)
    # relatime does not update an access time in the future
    os.utime(folder / "special.mrcs", ns=(2 * 10**18 + 1, 10**18 + 987654321))
    (folder / "outside").symlink_to("/etc")
    archive(folder, folder.with_name("archive"))
    return folder


@pytest.fixture(scope="module")
def shared(session: Path) -> Iterator[Path]:
    """A mount for tests that only read, whatever was read before."""
    with mounted(session.with_name("archive"), session.with_name("mnt")) as place:
        yield place


@pytest.fixture
def mount(session: Path, tmp_path: Path) -> Iterator[Path]:
    """A mount of which nothing was read yet."""
    with mounted(session.with_name("archive"), tmp_path / "mnt") as place:
        yield place


@pytest.fixture(scope="module")
def readable_session() -> Iterator[Path]:
    """Return a session that any user can access, next to its archive."""
    base = Path(tempfile.mkdtemp(prefix="cryofs-protection-"))
    base.chmod(0o755)
    folder = base / "session"
    simulated(folder / "Movies" / "a.mrc", frames=10)
    (folder / "notes.txt").write_text("300 kV")
    (folder / "private.txt").write_text("mine")
    (folder / "private.mrc").write_bytes((folder / "Movies" / "a.mrc").read_bytes())
    for name in ("private.txt", "private.mrc"):
        (folder / name).chmod(0o600)
    (folder / "link").symlink_to("nowhere")
    for path in (folder, folder / "Movies"):
        path.chmod(0o755)
    archive(folder, base / "archive")
    (base / "archive").chmod(0o755)
    yield folder
    shutil.rmtree(base)


@pytest.fixture
def place(readable_session: Path) -> Iterator[Path]:
    """Return a mountpoint that any user can access."""
    folder = Path(tempfile.mkdtemp(prefix="mnt", dir=readable_session.parent))
    folder.chmod(0o755)
    yield folder
    if is_mounted(folder):
        run_in_process("umount", "--lazy", folder)
    folder.rmdir()
