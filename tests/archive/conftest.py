import shutil
from pathlib import Path

import pytest

from tests.small_session import make_small


@pytest.fixture(scope="module")
def small_kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    make_small(folder)
    return folder


@pytest.fixture
def small(small_kept: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A session of few files, and its archive, both to be changed."""
    shutil.copytree(small_kept, tmp_path / "made", symlinks=True)
    return tmp_path / "made" / "session", tmp_path / "made" / "archive"
