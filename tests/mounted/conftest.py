"""A session and its mount, shared by tests that change neither."""

import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulate import header
from tests.support import archive, mounted, movie_values, simulated


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


@pytest.fixture
def mount(session: Path, tmp_path: Path) -> object:
    with mounted(session.with_name("archive"), tmp_path / "mnt") as place:
        yield place
