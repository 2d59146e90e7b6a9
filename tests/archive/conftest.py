import os
import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from tests.foreign import WRITERS, counts, write_tiff
from tests.small_session import make_small


@pytest.fixture(scope="module")
def unchanged_small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    make_small(folder)
    return folder


@pytest.fixture
def small(unchanged_small: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A session of few files, and its archive, both to be changed."""
    shutil.copytree(unchanged_small, tmp_path / "made", symlinks=True)
    return tmp_path / "made" / "session", tmp_path / "made" / "archive"


@pytest.fixture
def tiff_archive(tmp_path: Path) -> Path:
    """TIFF movies of all layouts, a gain reference, and other files."""
    root = tmp_path / "archive"
    for number, (name, write) in enumerate(WRITERS.items()):
        frames = counts(seed=number).astype("uint16" if name == "EPU" else "uint8")
        path = write(root / "Movies" / f"{name}.tif", frames)
        os.utime(path, ns=(10**18, 10**18 + number))
    with mrcfile.new(root / "gain-reference.mrc") as reference:
        reference.set_data(np.ones((48, 35), np.float32))
    write_tiff(root / "photo.tif", counts()[:1])
    (root / "notes.txt").write_text("300 kV")
    return root
