"""An archive with EER movies."""

from pathlib import Path

import pytest
import tifffile

from tests.vfs.serving import GAIN, write_movie


@pytest.fixture
def eer_archive(tmp_path: Path) -> Path:
    """An archive with EER movies in several places and a gain reference."""
    root = tmp_path / "archive"
    write_movie(root / "Movies" / "a.eer")
    write_movie(root / "Movies" / "b.mrc.eer", seed=1)
    write_movie(root / "c.eer", seed=2)
    (root / "notes.txt").write_text("300 kV")
    tifffile.imwrite(root / "falcon.gain", GAIN)
    return root
