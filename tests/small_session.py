"""A session of few files with its archive, for tests that compare and remove."""

from pathlib import Path

import numpy as np

from cryofs.compress.movie_task import CompressOptions
from tests.support import archive, header


def write_integers(path: Path, frames: int = 4, seed: int = 0) -> Path:
    """A small movie that needs no gain reference."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).poisson(2, (frames, 32, 48)).astype("<i2")
    path.write_bytes(header((frames, 32, 48), 1) + values.tobytes())
    return path


def make_small(folder: Path) -> tuple[Path, Path]:
    """A session of few files, and its archive."""
    source, target = folder / "session", folder / "archive"
    for name in ("a", "b"):
        write_integers(source / "Movies" / f"{name}.mrc", seed=ord(name))
    (source / "notes.txt").write_text("300 kV")
    (source / "empty" / "inner").mkdir(parents=True)
    (source / "other.txt").write_text("K3")
    (source / "link").symlink_to("other.txt")
    (source / "dangling").symlink_to("nowhere")
    (source / "folder").symlink_to("Movies")
    archive(source, target, CompressOptions(gain="none", jobs=2))
    return source, target
